import { Pulse, runTogether } from "../abort.ts";
import { backoffMs, type Clock, type Random, within } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { Log } from "../telemetry/log.ts";
import type { KubeClient } from "./client.ts";
import { readGroupList, type BrokenVersion, type DiscoveryDocument } from "./discovery-document.ts";
import { forEachLine } from "./lines.ts";
import { apiVersionOf, pathOf, resources, type KubeKind, type KubeResource } from "./resource.ts";

/** What became different from one look at the API server to the next. */
export interface DiscoveryChange {
  readonly added: readonly KubeKind[];
  /** Kinds whose definition is gone. Kinds of a broken APIService are not among them: they stay as last seen. */
  readonly removed: readonly KubeKind[];
  /** Served in other versions, or with other verbs or subresources, than before. */
  readonly changed: readonly KubeKind[];
}

export interface DiscoveryOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Looked at anew this often even when no CRD or APIService changed: a served kind may change without either. */
const pollMs = 60_000;
/** A changed CRD is served a moment after its watch event: looked at again after each of these. */
const settleMs = [50, 500, 2_000];
const retryLimits = { firstMs: 500, maxMs: 30_000 };

const acceptGroups =
  "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
  "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const acceptMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/**
 * All kinds that one API server serves, those of CRDs and aggregated APIs included, kept current while {@link run}
 * runs. An API group that cannot be read leaves the others alone and is listed in {@link broken}.
 */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #listeners = new Set<(change: DiscoveryChange) => void>();
  readonly #looks = new Pulse();
  #kinds = new Map<string, KubeKind>();
  #broken: readonly BrokenVersion[] = [];
  #refreshing: Promise<DiscoveryChange> | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
  }

  /** Every kind, also those that cannot be listed or watched. */
  kinds(): readonly KubeKind[] {
    return [...this.#kinds.values()];
  }

  /** Versions of API groups that could not be read at the last look. */
  broken(): readonly BrokenVersion[] {
    return this.#broken;
  }

  find(group: string, kind: string): KubeKind | undefined {
    return this.#kinds.get(kindId(group, kind));
  }

  /** The resource in which to read or write an object of this `apiVersion` and `kind`, if that version is served. */
  resource(apiVersion: string, kind: string): KubeResource | undefined {
    const slash = apiVersion.indexOf("/");
    const group = slash < 0 ? "" : apiVersion.slice(0, slash);
    return this.find(group, kind)?.versions.find((version) => apiVersionOf(version) === apiVersion);
  }

  /** Calls `listener` after each look that found a difference, until disposed. A listener must not throw. */
  onChange(listener: (change: DiscoveryChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Looks now. Rejects where the API server cannot be reached; the kinds then stay as they were. */
  async refresh({ signal }: { signal: AbortSignal }): Promise<DiscoveryChange> {
    this.#refreshing ??= this.#look(signal).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Asks for a look soon, for instance after a kind answered that it does not exist. */
  lookSoon(): void {
    this.#looks.raise();
  }

  /** Keeps the kinds current until `signal` aborts; then rejects with its reason. Never rejects otherwise. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    await runTogether(
      [
        (options) => this.#watch(resources.crds, options.signal),
        (options) => this.#watch(resources.apiServices, options.signal),
        (options) => this.#poll(options.signal),
      ],
      { signal },
    );
  }

  async #look(signal: AbortSignal): Promise<DiscoveryChange> {
    const { client } = this.#options;
    const read = async (path: string): Promise<DiscoveryDocument> =>
      readGroupList(await client.request("GET", path, { accept: acceptGroups, signal }));
    const [core, groups] = await Promise.all([read("/api"), read("/apis")]);
    const found = new Map<string, KubeKind>();
    for (const kind of [...core.kinds, ...groups.kinds]) found.set(kindId(kind.group, kind.kind), kind);
    this.#broken = [...core.broken, ...groups.broken];
    keepBroken(found, this.#kinds, this.#broken);
    const change = compareKinds(this.#kinds, found);
    this.#kinds = found;
    if (change.added.length + change.removed.length + change.changed.length > 0) {
      for (const listener of this.#listeners) listener(change);
    }
    return change;
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    for (;;) {
      const told = await within((options) => this.#looks.wait(options), pollMs, { clock, signal });
      for (const ms of told ? settleMs : [0]) {
        await clock.sleep(ms, { signal });
        try {
          await this.refresh({ signal });
        } catch (error) {
          signal.throwIfAborted();
          log.warn({ err: error }, "discovery failed");
        }
      }
    }
  }

  /** Any event on these objects means: look. What it says does not matter, so its metadata is enough. */
  async #watch(resource: KubeResource, signal: AbortSignal): Promise<void> {
    const { client, clock, random, log } = this.#options;
    for (let attempt = 0; ;) {
      try {
        const query = { watch: true, timeoutSeconds: Math.round(300 * (1 + random())) };
        const body = await client.stream(pathOf(resource), { query, accept: acceptMetadata, signal });
        attempt = 0;
        await forEachLine(body, () => this.#looks.raise());
      } catch (error) {
        signal.throwIfAborted();
        log.debug({ err: error, kind: resource.kind }, "watch for discovery failed");
      }
      await client.readiness.pause(backoffMs(attempt, retryLimits, random), { clock, signal });
      attempt++;
    }
  }
}

function kindId(group: string, kind: string): string {
  return `${group}/${kind}`;
}

/** An aggregated API that does not answer has not lost its kinds: those of its versions stay as they were last. */
function keepBroken(
  found: Map<string, KubeKind>,
  before: ReadonlyMap<string, KubeKind>,
  broken: readonly BrokenVersion[],
): void {
  const brokenVersions = new Set(broken.map((version) => version.groupVersion));
  for (const [id, kind] of before) {
    const kept = kind.versions.filter((version) => brokenVersions.has(apiVersionOf(version)));
    const now = found.get(id)?.versions ?? [];
    const missing = kept.filter((version) => !now.some((other) => other.version === version.version));
    const [first, ...rest] = [...now, ...missing];
    if (missing.length > 0 && first !== undefined) found.set(id, { ...kind, versions: [first, ...rest] });
  }
}

/** What differs between two looks. */
export function compareKinds(
  before: ReadonlyMap<string, KubeKind>,
  after: ReadonlyMap<string, KubeKind>,
): DiscoveryChange {
  const added: KubeKind[] = [];
  const changed: KubeKind[] = [];
  for (const [id, kind] of after) {
    const old = before.get(id);
    if (old === undefined) added.push(kind);
    else if (fingerprint(old) !== fingerprint(kind)) changed.push(kind);
  }
  const removed = [...before].filter(([id]) => !after.has(id)).map(([, kind]) => kind);
  return { added, removed, changed };
}

function fingerprint(kind: KubeKind): string {
  const versions = kind.versions.map((version) => ({
    ...version,
    verbs: [...version.verbs].sort(),
    subresources: [...version.subresources].sort(),
  }));
  return JSON.stringify(versions);
}

/** The kind, or NotFound with a hint: for callers that cannot go on without it. */
export function requireKind(discovery: Discovery, group: string, kind: string): KubeKind {
  const found = discovery.find(group, kind);
  if (found !== undefined) return found;
  throw new LifeboatError("NotFound", `the API server does not serve ${group === "" ? kind : `${group}/${kind}`}`, {
    op: "kube.discovery",
    hint: "install its CustomResourceDefinition",
  });
}
