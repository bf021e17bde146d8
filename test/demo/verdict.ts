/** Checks that decide the demo's exit code, made by the demo itself with requests of its own. */
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { journalPath } from "../../src/agent/group-journal.ts";
import { differences } from "../../src/apply/compare.ts";
import { GroupView, isShared } from "../../src/apply/view.ts";
import { systemClock } from "../../src/clock.ts";
import { messageOf } from "../../src/errors.ts";
import { Journal } from "../../src/journal/journal.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { Discovery } from "../../src/kube/discovery.ts";
import type { KubeKind, KubeResource } from "../../src/kube/resource.ts";
import { keyOf, kindName, parseKey } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import { marks } from "../../src/objects/object.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import type { Role } from "../../src/render/types.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { spread } from "../bench/bare/writer.ts";
import { agentNamespace } from "../pair/install.ts";
import type { Reported } from "./manifests.ts";

const readersCount = 8;
/** Labels and annotations that are Lifeboat's own notes and no part of the application. */
const ownPrefix = "lifeboat.dev/";

/** Copies a group's journal as it is now, the parts that SQLite keeps beside it included, and opens the copy. */
export async function openJournalCopy(dataDir: string, group: string, to: string): Promise<Journal> {
  await mkdir(to, { recursive: true });
  const main = journalPath(dataDir, group);
  for (const part of ["", "-wal"]) {
    await copyFile(`${main}${part}`, join(to, `journal.db${part}`)).catch((error: unknown) => {
      if (part === "") throw error;
    });
  }
  return Journal.open({ path: join(to, "journal.db"), group });
}

function withoutNotes(object: KubeObject): KubeObject {
  const clean = (map: Record<string, string> | undefined): Record<string, string> =>
    Object.fromEntries(Object.entries(map ?? {}).filter(([name]) => !name.startsWith(ownPrefix)));
  const { labels, annotations, ...rest } = object.metadata;
  return { ...object, metadata: { ...rest, labels: clean(labels), annotations: clean(annotations) } };
}

export interface Comparison {
  /** Objects that were compared. */
  readonly compared: number;
  /** In order of their keys. */
  readonly different: readonly Reported[];
  /** What the role keeps back at the site. */
  readonly withheld: readonly Reported[];
}

/** A journal without the application would agree with anything. */
export function areSame({ compared, different }: Comparison): boolean {
  return compared > 0 && different.length === 0;
}

export interface CompareOptions {
  readonly client: KubeClient;
  readonly site: string;
  readonly role: Role;
  readonly signal: AbortSignal;
}

/**
 * Compares what the journal says, rendered for `site` in `role`, with what the site's API server has: what is missing
 * there, what differs, and copies of the group that the journal knows nothing of.
 */
export async function compareSite(journal: Journal, options: CompareOptions): Promise<Comparison> {
  const comparer = await Comparer.open(journal, options);
  return comparer.compare();
}

class Comparer {
  readonly #journal: Journal;
  readonly #options: CompareOptions;
  readonly #discovery: Discovery;
  readonly #view: GroupView;
  readonly #different: Reported[] = [];
  readonly #withheld: Reported[] = [];
  /** Keys at the site that the journal accounts for. */
  readonly #known = new Set<ObjectKey>();
  #compared = 0;

  static async open(journal: Journal, options: CompareOptions): Promise<Comparer> {
    const { client, signal } = options;
    const discovery = new Discovery({ client, clock: systemClock, random: Math.random, log: silentLog });
    await discovery.refresh({ signal });
    return new Comparer(journal, options, discovery);
  }

  private constructor(journal: Journal, options: CompareOptions, discovery: Discovery) {
    this.#journal = journal;
    this.#options = options;
    this.#discovery = discovery;
    this.#view = new GroupView({ journal, discovery, uids: new Map(), site: options.site, taken: () => new Map() });
  }

  async compare(): Promise<Comparison> {
    const keys = [...this.#journal.entries()].flatMap(([key, head]) =>
      head.hash === "" || key === this.#view.specKey || isAgents(key) ? [] : [key],
    );
    await spread(keys, readersCount, async (source: ObjectKey) => this.#compareKey(source));
    const kinds = this.#discovery.kinds().filter((kind) => mayBeCopied(kind));
    await spread(kinds, readersCount, async (kind: KubeKind) => this.#findExtras(kind));
    return {
      compared: this.#compared,
      different: this.#different.toSorted((a, b) => (a.object < b.object ? -1 : 1)),
      withheld: this.#withheld,
    };
  }

  async #compareKey(source: ObjectKey): Promise<void> {
    const { role, signal } = this.#options;
    try {
      const made = this.#view.renderKey(source, role);
      const reason = made?.rendered.withheld;
      if (reason !== undefined) {
        this.#withheld.push({ object: source, reason: reason.message });
        this.#known.add(this.#view.keyAtSite(source));
      }
      for (const { key, object } of made?.targets ?? []) {
        this.#known.add(key);
        this.#compared += 1;
        const problem = await this.#compareObject(object, isShared(key));
        if (problem !== undefined) this.#different.push({ object: key, reason: problem });
      }
    } catch (error) {
      signal.throwIfAborted();
      this.#different.push({ object: source, reason: messageOf(error) });
    }
  }

  async #compareObject(wanted: KubeObject, shared: boolean): Promise<string | undefined> {
    const { client, signal } = this.#options;
    const resource = this.#discovery.resource(wanted.apiVersion, wanted.kind);
    if (resource === undefined) return `the site does not serve ${wanted.apiVersion} ${wanted.kind}`;
    const { namespace, name } = wanted.metadata;
    const live = await client.find(resource, { namespace, name }, { signal });
    if (live === undefined) return this.#whyNotThere(resource, wanted);
    // An object that others share is only asked for what it is, not for every label.
    const isAsked = ({ path }: { readonly path: string }): boolean => !shared || !path.startsWith("metadata.");
    const found = differences(withoutNotes(wanted), live).filter(isAsked);
    return found.length === 0 ? undefined : `differs at ${found.map(({ path }) => path).join(", ")}`;
  }

  /** The site's API server says what it has against the object when it is asked without consequences. */
  async #whyNotThere(resource: KubeResource, wanted: KubeObject): Promise<string> {
    const { client, signal } = this.#options;
    try {
      await client.create(resource, wanted, { fieldManager: "demo", dryRun: true, signal });
      return "is not there";
    } catch (error) {
      signal.throwIfAborted();
      return `is not there: ${messageOf(error)}`;
    }
  }

  async #findExtras({ group, kind, versions }: KubeKind): Promise<void> {
    const { client, signal } = this.#options;
    const labelSelector = `${marks.group}=${this.#journal.group}`;
    try {
      for await (const { items } of client.list(versions[0], { labelSelector, signal })) {
        for (const object of items) {
          const key = keyOf(object);
          if (!isCopy(object) || isAgents(key) || this.#known.has(key)) continue;
          this.#different.push({ object: key, reason: "is there, and the journal knows nothing of it" });
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      this.#different.push({ object: kindName(group, kind), reason: `cannot be listed: ${messageOf(error)}` });
    }
  }
}

/** The canary of the lag's measurement, in the agents' namespace, changes every second. */
function isAgents(key: ObjectKey): boolean {
  return parseKey(key).namespace === agentNamespace;
}

/** Copies that carry the group's label: those that groups share carry none. */
function mayBeCopied({ group, kind, versions: [resource] }: KubeKind): boolean {
  if (!resource.verbs.has("list") || group === "lifeboat.dev") return false;
  return resource.namespaced || (group === "" && kind === "Namespace");
}

/** Controllers give the label of what they work for to what they make, and not what Lifeboat notes beside it. */
function isCopy({ metadata }: KubeObject): boolean {
  const isControlled = metadata.ownerReferences?.some((owner) => owner.controller === true) ?? false;
  return metadata.annotations?.[marks.source] !== undefined && !isControlled;
}
