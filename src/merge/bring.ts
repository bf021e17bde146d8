import type { Failure } from "../apply/failures.ts";
import type { Notes } from "../apply/notes.ts";
import { managersOf } from "../apply/view.ts";
import { type GroupSpec, peerOf } from "../config/group.ts";
import { LifeboatError } from "../errors.ts";
import type { EpochText } from "../objects/epoch.ts";
import { parseJson } from "../objects/json.ts";
import type { ObjectKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { normalise } from "../capture/normalise.ts";
import type { Place } from "../render/neutral.ts";
import { render } from "../render/render.ts";
import { isSurged } from "../render/surge.ts";
import type { Facts, RenderContext, Rendered, Role, SourceRecord } from "../render/types.ts";
import type { SiteObjects } from "./objects.ts";
import { creation, replacement } from "./plan.ts";
import type { Entry } from "./replica.ts";
import type { Theirs } from "./stated.ts";

export interface BringerOptions {
  readonly objects: SiteObjects;
  /** Told what was found in objects as they were last made, by key at this site. */
  readonly notes: Notes;
  readonly group: string;
  readonly site: string;
  readonly epoch: () => EpochText;
  readonly surgePercent: () => number | undefined;
  /** Namespaces of this site that belong to other groups, with their names. */
  readonly taken: () => ReadonlyMap<string, string>;
  /** Undefined before the first spec. */
  readonly place: () => Place | undefined;
  /** The group's namespaces as the other site names them. */
  readonly namespaces: () => ReadonlySet<string>;
}

interface Given {
  /** At this site. */
  readonly key: ObjectKey;
  readonly role: Role;
  /** Runs at one site: a surge does not concern it. */
  readonly isSingle: boolean;
  readonly signal: AbortSignal;
}

/** What became of an object: as it is here now, or why it is not. */
export type Brought =
  | { readonly object: KubeObject | undefined; readonly wrote?: boolean }
  | { readonly failure: Failure };

/** What of a render is not the same for all. */
type Way = Pick<RenderContext, "source" | "role" | "facts"> & Pick<Given, "isSingle">;

/** Makes one object of this site what it should be: renders, compares, writes what differs. */
export class Bringer {
  readonly #options: BringerOptions;

  constructor(options: BringerOptions) {
    this.#options = options;
  }

  #place(): Place {
    const place = this.#options.place();
    if (place !== undefined) return place;
    throw new LifeboatError("SpecInvalid", "no spec was received yet", { op: "merge.bring", retryable: true });
  }

  /** What the other site says, in this site's form, as the version `entry`. */
  async take(
    given: Given & {
      readonly live: KubeObject | undefined;
      readonly theirs: Theirs | undefined;
      readonly entry: Entry;
    },
  ): Promise<Brought> {
    const { key, live, theirs, entry, role, isSingle, signal } = given;
    if (theirs === undefined) return { object: live, wrote: false };
    const { site, objects } = this.#options;
    const record = { key: theirs.record.key, object: theirs.object, managers: managersOf(theirs.record) };
    const facts = { ...(await objects.facts(key, theirs.object, { signal })), namespaces: this.#options.namespaces() };
    const source = peerOf(this.#place().spec, site);
    const here = await this.#inVersion(key, live, theirs.object.apiVersion, signal);
    const way = { source, role, isSingle, facts: { ...facts, ...sizeOf(key, here) } };
    const rendered = await this.#render(record, way, signal);
    this.#options.notes.foundIn(key, rendered.findings);
    return this.#write(rendered, here, entry, signal);
  }

  /** What is here already, as it should look at this site now. */
  async form(given: Given & { readonly live: KubeObject }): Promise<Brought> {
    const { key, live, role, isSingle, signal } = given;
    const { site, objects } = this.#options;
    const { object: text, managers } = normalise(live);
    const object = parseJson(text) as KubeObject;
    const record = { key, object, managers: parseJson(managers) as SourceRecord["managers"] };
    const facts = { ...(await objects.facts(key, live, { signal })), ...sizeOf(key, live) };
    const rendered = await this.#render(record, { source: site, role, isSingle, facts }, signal);
    this.#options.notes.foundIn(key, rendered.findings);
    return this.#write(rendered, live, undefined, signal);
  }

  /** Whether a surge is to change it, or may have. */
  mayBeSurged(key: ObjectKey, live: KubeObject): boolean {
    if (!isSurged(key)) return false;
    return this.#options.surgePercent() !== undefined || live.metadata.annotations?.[marks.undo] !== undefined;
  }

  /** Two versions of a kind have different fields: what is compared is read in the version that is written. */
  async #inVersion(
    key: ObjectKey,
    live: KubeObject | undefined,
    apiVersion: string,
    signal: AbortSignal,
  ): Promise<KubeObject | undefined> {
    if (live === undefined || live.apiVersion === apiVersion) return live;
    return this.#options.objects.find(key, apiVersion, { signal });
  }

  async #render(record: SourceRecord, { source, role, isSingle, facts }: Way, signal: AbortSignal): Promise<Rendered> {
    const { group, site, epoch, surgePercent, taken, objects } = this.#options;
    const spec: GroupSpec = { ...this.#place().spec, standby: "Warm" };
    const percent = role === "active" && !isSingle ? surgePercent() : undefined;
    const context = (known: Facts): RenderContext => ({
      spec,
      group,
      site,
      source,
      role,
      epoch: epoch(),
      facts: known,
      surgePercent: percent,
      taken: taken(),
    });
    const first = render(record, context(facts));
    if (first.withheld?.reason !== "ServiceNotReady") return first;
    const readyServices = await objects.readyServices(first.waitsFor, { signal });
    return render(record, context({ ...facts, readyServices }));
  }

  async #write(
    { objects: [wanted], withheld }: Rendered,
    live: KubeObject | undefined,
    entry: Entry | undefined,
    signal: AbortSignal,
  ): Promise<Brought> {
    const { objects } = this.#options;
    if (wanted === undefined) {
      if (withheld?.reason === "ServiceNotReady") return { failure: { ...waiting, message: withheld.message } };
      if (live === undefined || withheld?.reason !== "StandbyRole") return { object: live, wrote: false };
      await objects.remove(live, { signal });
      return { object: undefined };
    }
    if (live === undefined) {
      if (entry === undefined) return { object: undefined, wrote: false };
      return { object: await this.#disowned(await objects.create(creation(wanted, entry), { signal }), signal) };
    }
    const body = replacement(live, wanted, entry, this.#place());
    if (body === undefined) return { object: live, wrote: false };
    return { object: await this.#disowned(await objects.replace(body, { signal }), signal) };
  }

  /** As it was answered: what somebody has written since is theirs, and seen as that. */
  async #disowned(object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#options.objects.disown(object, { signal });
    return object;
  }
}

const waiting: Failure = { reason: "Needed", message: "", slow: true };

/** A claim never becomes smaller. */
function sizeOf(key: ObjectKey, live: KubeObject | undefined): Pick<Facts, "claimSizes"> {
  if (live?.kind !== "PersistentVolumeClaim") return {};
  const spec = live["spec"] as { resources?: { requests?: { storage?: string } } } | undefined;
  const size = spec?.resources?.requests?.storage;
  return size === undefined ? {} : { claimSizes: new Map([[key, size]]) };
}
