import { unmatchedMutations } from "../config/check-group.ts";
import { peerOf, type ProtectionGroup } from "../config/group.ts";
import { parseGroup } from "../config/parse-group.ts";
import { requestAnnotation } from "../config/requests.ts";
import { LifeboatError } from "../errors.ts";
import type { Journal } from "../journal/journal.ts";
import { canonicalJson, parseJson } from "../objects/json.ts";
import type { ObjectKey } from "../objects/key.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { readOrigin } from "./origin.ts";

/** The group's object as it was last valid here: what is deleted is served until its standby knows. */
const objectRecord = "agent/object";

export interface GroupSpecOptions {
  readonly name: string;
  readonly site: string;
  readonly journal: Journal;
  readonly log: Log;
  /** What another group at this site leaves one of this spec to be refused for; "" for nothing. Must not throw. */
  readonly problem: (group: ProtectionGroup) => string;
  /** A spec has come into force. Must not throw. */
  readonly onTaken: (group: ProtectionGroup) => void;
}

/** What came of a look at the group's object at this site. */
export type Observed =
  /** The source's own, and in force. */
  | "adopted"
  /** The source's own, and not valid. */
  | "invalid"
  /** A mirror that says what the journal does. */
  | "mirror"
  /** A mirror that somebody has changed, or an object that should be one. */
  | "foreign";

/**
 * The group's object and the spec that is in force at this site: at the source its own object's, at a standby the
 * journal's. One that is not valid changes nothing: the last good one stays.
 */
export class GroupSpecs {
  readonly #options: GroupSpecOptions;
  #group: ProtectionGroup | undefined;
  /** The local object, as the API server has it; of a standby the mirror. */
  #object: KubeObject | undefined;
  #kept: KubeObject | undefined;
  #error: LifeboatError | undefined;
  #warnings: readonly string[] = [];
  #refusal = "";
  #journalHash: string | undefined;

  constructor(options: GroupSpecOptions) {
    this.#options = options;
  }

  get group(): ProtectionGroup | undefined {
    return this.#group;
  }

  get object(): KubeObject | undefined {
    return this.#object;
  }

  /** Why the object's present spec is not in force. */
  get error(): LifeboatError | undefined {
    return this.#error;
  }

  get refused(): boolean {
    return this.#refusal !== "";
  }

  /** Of the group's object in the stream. */
  get key(): ObjectKey {
    return `lifeboat.dev/ProtectionGroup//${this.#options.name}`;
  }

  /** Created here: its object is no mirror and nothing was ever received from a peer. */
  get isSource(): boolean {
    const object = this.#object ?? this.#kept;
    return object !== undefined && !this.#isMirror(object);
  }

  /** What is odd about the spec in force; with `keys`, what the group holds, also mutations that do nothing. */
  warnings(keys: Iterable<ObjectKey> | undefined): string[] {
    const { group } = this;
    if (group?.spec.mutations === undefined || keys === undefined) return [...this.#warnings];
    return [...this.#warnings, ...unmatchedMutations(group.spec, keys, this.#options.site)];
  }

  /** Why another group keeps a spec of this one out that it does not run yet. One in force, or of before, stays. */
  #problem(group: ProtectionGroup): string {
    const isInForce = this.#group !== undefined && canonicalJson(this.#group.spec) === canonicalJson(group.spec);
    return isInForce ? "" : this.#options.problem(group);
  }

  /** The object appeared or changed. */
  observe(object: KubeObject): Observed {
    this.#object = object;
    if (this.#isMirror(object)) return this.#isForeign(object) ? "foreign" : "mirror";
    const group = this.#parse(object, (parsed) => this.#problem(parsed));
    if (group === undefined) return "invalid";
    this.#take(group);
    this.#remember(object);
    return "adopted";
  }

  /** The object is gone from this site. */
  forgetObject(): void {
    this.#object = undefined;
  }

  /**
   * The site that runs the group goes on with the object as it last was, from the first moment: its lease must not
   * wait for an API server that is away while the agent starts.
   */
  readKept(): void {
    const stored = this.#storedObject();
    if (readOrigin(this.#options.journal) === "copy" || stored === undefined) return;
    this.#kept = stored;
    const group = this.#group === undefined ? this.#parse(stored) : undefined;
    if (group !== undefined) this.#take(group);
  }

  /** Of a group whose object is gone and whose spec was never read by this process. */
  restoreKept(): void {
    const stored = this.#storedObject();
    if (this.#group !== undefined || stored === undefined) return;
    this.#kept = stored;
    const group = this.#parse(stored);
    if (group !== undefined) this.#take(group);
  }

  /** A standby's spec is the one in its journal; what takes effect here is what was valid there. True when it is new. */
  readJournal(): boolean {
    const { journal } = this.#options;
    const origin = readOrigin(journal);
    if (origin === "own" || origin === "held") return false;
    const hash = journal.head(this.key)?.hash;
    if (hash === undefined || hash === "" || hash === this.#journalHash) return false;
    const text = journal.specText();
    if (text === undefined) return false;
    this.#journalHash = hash;
    const group = this.#parse(parseJson(text) as KubeObject);
    if (group !== undefined) this.#take(group);
    return origin === "copy" || origin === "none";
  }

  /** The object as it was last valid here, without what a person asked of it once. */
  lastObject(): KubeObject | undefined {
    const stored = this.#storedObject();
    if (stored === undefined) return undefined;
    const { [marks.failover]: _failover, [requestAnnotation]: _request, ...kept } = stored.metadata.annotations ?? {};
    return { ...stored, metadata: { ...stored.metadata, annotations: kept } };
  }

  /**
   * The object that is the first record of the stream: at a promoted site the journal's, until it is applied here.
   * Throws SpecInvalid where there is none.
   */
  ownObject(): KubeObject {
    const object = this.#object ?? this.#kept;
    if (object !== undefined) return object;
    const text = this.#options.journal.specText();
    if (text === undefined) throw new LifeboatError("SpecInvalid", "the group's object is gone", { op: "agent.serve" });
    return parseJson(text) as KubeObject;
  }

  #storedObject(): KubeObject | undefined {
    const stored = this.#options.journal.getState(objectRecord);
    return typeof stored === "string" ? (parseJson(stored) as KubeObject) : undefined;
  }

  #take(group: ProtectionGroup): void {
    this.#group = group;
    this.#options.onTaken(group);
  }

  /** A mirror, also when somebody has taken its mark away. */
  #isMirror(object: KubeObject): boolean {
    return object.metadata.annotations?.[marks.mirror] !== undefined || readOrigin(this.#options.journal) === "copy";
  }

  /** Whether somebody has changed what a standby shows. */
  #isForeign(object: KubeObject): boolean {
    const { journal } = this.#options;
    const origin = readOrigin(journal);
    const text = journal.specText();
    if (text === undefined || (origin !== "copy" && origin !== "none")) return false;
    const source = parseJson(text) as KubeObject;
    const isMarked = object.metadata.annotations?.[marks.mirror] !== undefined;
    return !isMarked || canonicalJson(object["spec"]) !== canonicalJson(source["spec"]);
  }

  #remember(object: KubeObject): void {
    const { journal, log } = this.#options;
    // Its status changes every few seconds, and is not what has to be known after a restart.
    const { status: _status, ...rest } = object;
    const { resourceVersion: _version, managedFields = [], ...metadata } = object.metadata;
    const owned = managedFields.filter(({ subresource }) => subresource !== "status");
    const text = canonicalJson({ ...rest, metadata: { ...metadata, managedFields: owned } });
    if (journal.getState(objectRecord) === text) return;
    void journal.putState(objectRecord, text).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "the group's object could not be noted");
    });
  }

  #parse(object: KubeObject, problem: (group: ProtectionGroup) => string = () => ""): ProtectionGroup | undefined {
    const { site, log } = this.#options;
    const said = this.#error?.message;
    try {
      const { group, warnings } = parseGroup(object);
      peerOf(group.spec, site);
      this.#refusal = problem(group);
      if (this.refused) throw new LifeboatError("SpecInvalid", this.#refusal, { op: "group.check" });
      this.#error = undefined;
      this.#warnings = warnings;
      return group;
    } catch (error) {
      this.#error =
        error instanceof LifeboatError
          ? error
          : new LifeboatError("SpecInvalid", `${site} is not a site of this group`, { cause: error });
      if (said !== this.#error.message) {
        log.warn({ error: safeError(this.#error) }, "the group's spec is not valid; the last good one stays");
      }
      return undefined;
    }
  }
}
