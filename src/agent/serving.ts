import { linkedAbort, Pulse } from "../abort.ts";
import type { LocalObject } from "../apply/demotion.ts";
import { removedObjects } from "../apply/removed.ts";
import { GroupCapture, type LackingObjects, type ObjectVersions } from "../capture/group.ts";
import type { Normalised } from "../capture/normalise.ts";
import { WatchPool } from "../capture/pool.ts";
import { peerOf, type ProtectionGroup } from "../config/group.ts";
import { within } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { KubeKind } from "../kube/resource.ts";
import { canaryName } from "../objects/canary.ts";
import { parseJson } from "../objects/json.ts";
import { formatKey, type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { FinalDigest } from "./group-actions.ts";
import type { GroupSpecs } from "./group-spec.ts";
import { readOrigin } from "./origin.ts";
import { withAcknowledged } from "./readers.ts";
import type { AgentParts } from "./parts.ts";
import { isRewound } from "./rewind.ts";

export interface ServingOptions {
  readonly name: string;
  readonly parts: AgentParts;
  readonly specs: GroupSpecs;
  readonly journal: Journal;
  /** Epoch under which the group is served, asked for at each batch. */
  readonly epoch: () => string;
  /** What of the group could not be brought up at this site. */
  readonly lacking: () => LackingObjects;
  /** Which other group at this site has a namespace. */
  readonly holderOf: (namespace: string) => string | undefined;
  /** Of a group that runs at both sites. */
  readonly versions: () => ObjectVersions | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Begun or ended to serve. Must not throw. */
  readonly onChange: () => void;
}

/** That a standby has once had something of the group. */
const standbyRecord = "agent/standby";
/** Whether the API server was restored while its objects were waited for is looked at this often. */
const lookAgainMs = 1000;
/** What is sealed has come to both agents of the target in milliseconds, or one of them is not well: then one is enough. */
const keptWaitMs = 2000;

/** The source side of a group at this site: what follows its objects, and the offer of them to the peer. */
export class GroupServing {
  readonly #options: ServingOptions;
  readonly #acknowledged = new Pulse();
  #capture: GroupCapture | undefined;
  #capturing: Background | undefined;
  #offer: { readonly offer: Disposable; readonly stop: AbortController } | undefined;
  #durableSeq = 0;
  /** In memory, since it is asked with every acknowledgement. */
  #hasStandby: boolean;
  #lacking: LackingObjects | undefined;
  /** What another process of this site deleted to take the group down, while this one goes on holding it. */
  #takenDown: LackingObjects | undefined;

  constructor(options: ServingOptions) {
    this.#options = options;
    this.#hasStandby = options.journal.getState(standbyRecord) === true;
  }

  /** The group is offered to the peer. */
  get offers(): boolean {
    return this.#offer !== undefined;
  }

  /** While the site's own objects are followed. */
  get capture(): GroupCapture | undefined {
    return this.#capture;
  }

  /** A standby has once said that it has something of the group on its disk. */
  get hasStandby(): boolean {
    return this.#hasStandby;
  }

  /** Who had the group has let go of it. */
  forgetStandby(): void {
    this.#durableSeq = 0;
    if (this.#hasStandby) this.#setStandby(false);
  }

  #setStandby(hasStandby: boolean): void {
    this.#hasStandby = hasStandby;
    const { journal, log } = this.#options;
    journal.putState(standbyRecord, hasStandby).catch((error: unknown) => {
      // Said again, it is noted again.
      this.#hasStandby = !hasStandby;
      log.warn({ error: safeError(error) }, "whether a standby has the group could not be noted");
    });
  }

  /** Highest sequence number that the standby has on its disk, since the group has been offered. */
  get durableSeq(): number {
    return this.#durableSeq;
  }

  /** Agents of the standby that keep the group's journal and are heard; undefined while it is not offered. */
  get journalCount(): number | undefined {
    return this.offers ? this.#options.parts.served.readerCount(this.#options.name) : undefined;
  }

  /** Raised when {@link durableSeq} may have grown. */
  get acknowledged(): Pulse {
    return this.#acknowledged;
  }

  serve(): void {
    const { parts, name, log } = this.#options;
    if (this.#offer !== undefined) {
      parts.served.announce();
      return;
    }
    const { capture, group } = this.#ensureCapture();
    capture.lacks(this.#whatLacks());
    const stop = new AbortController();
    this.#durableSeq = 0;
    const offer = parts.served.offer({
      name,
      peer: peerOf(group.spec, parts.config.site),
      revision: group.generation ?? 0,
      source: withAcknowledged(capture, (position) => {
        capture.acknowledged(position);
        this.#durableSeq = Math.max(this.#durableSeq, position.durable);
        if (this.#durableSeq > 0 && !this.#hasStandby) this.#setStandby(true);
        this.#acknowledged.raise();
      }),
      signal: stop.signal,
      meter: parts.metrics.streamMeter(name),
      onNewerEpoch: (epoch) => log.warn({ epoch }, "the peer has stored a newer epoch; this site is not active"),
    });
    this.#offer = { offer, stop };
    this.#options.onChange();
  }

  /** The group's object or spec has changed. */
  update(object: KubeObject, group: ProtectionGroup): void {
    this.#capture?.update(object, group.spec);
    if (this.#offer !== undefined) this.#options.parts.served.announce();
  }

  /** See {@link GroupCapture.offer}; nothing while the site's objects are not followed. */
  offerObject(key: ObjectKey, state: Normalised | undefined): void {
    this.#capture?.offer(key, state);
  }

  /** What this site lacks may be something else. */
  lackingChanged(): void {
    const lacking = this.#whatLacks();
    if (lacking === this.#lacking) return;
    this.#lacking = lacking;
    this.#capture?.lacks(lacking);
  }

  #whatLacks(): LackingObjects {
    if (readOrigin(this.#options.journal) !== "held") this.#takenDown = undefined;
    return this.#takenDown ?? this.#options.lacking();
  }

  stopServing(): void {
    const { offer, stop } = this.#offer ?? {};
    this.#offer = undefined;
    offer?.[Symbol.dispose]();
    stop?.abort(new LifeboatError("PeerUnreachable", "this site is not active any more", { retryable: true }));
    this.#options.onChange();
  }

  async stopCapture(): Promise<void> {
    const capturing = this.#capturing;
    this.#capture = undefined;
    this.#capturing = undefined;
    await capturing?.stop();
  }

  /**
   * The group's objects as this site has them, once all are known. Whoever asks takes the group down or away: a restored
   * API server is no reason to wait.
   */
  async localObjects({ signal }: { signal: AbortSignal }): Promise<LocalObject[]> {
    const { capture } = this.#ensureCapture();
    const { pool, mayFollowRestored, clock } = this.#options.parts;
    for (;;) {
      // Others that run here wait for a person's word, and their past must not reach their standbys.
      if (isRewound(pool) && !mayFollowRestored()) return this.#localObjectsApart(signal);
      using _accepting = mayFollowRestored() ? pool.acceptingRewinds() : undefined;
      await within((options) => capture.whenSynced(options), lookAgainMs, { clock, signal });
      if (capture.synced) return this.#objectsIn(capture);
    }
  }

  /** What the API server holds now, read beside the watches that all groups share. */
  async #localObjectsApart(signal: AbortSignal): Promise<LocalObject[]> {
    const { parts, log } = this.#options;
    const { client, discovery, peerVersions, clock, random } = parts;
    const chooseVersion = (kind: KubeKind) => peerVersions.choose(kind);
    const pool = new WatchPool({ client, discovery, chooseVersion, clock, random, log });
    const capture = this.#newCapture(pool, undefined);
    using scope = linkedAbort(signal);
    const ended = Promise.allSettled([pool.run(scope), capture.run(scope)]);
    try {
      await capture.whenSynced({ signal });
      return this.#objectsIn(capture);
    } finally {
      scope.abort(new Error("everything has been read"));
      await ended;
    }
  }

  #objectsIn(capture: GroupCapture): LocalObject[] {
    const records = capture.read(0, { maxCount: Infinity, maxBytes: Infinity });
    return records.flatMap(({ key, object, managers }) =>
      object === undefined || key === this.#options.specs.key || !this.isGroups(key) || capture.isLacking(key)
        ? []
        : [{ key, object, managers }],
    );
  }

  /** The canary travels with the group and is none of its objects. */
  isGroups(key: ObjectKey): boolean {
    return parseKey(key).namespace !== this.#options.parts.config.namespace;
  }

  async finalDigest(options: { signal: AbortSignal }): Promise<FinalDigest> {
    const capture = this.#capture;
    if (capture === undefined) throw new LifeboatError("FailoverRefused", "this site does not serve the group");
    if (isRewound(this.#options.parts.pool)) {
      throw new LifeboatError(
        "FailoverRefused",
        "the API server was restored from a backup, and nobody accepted that",
        {
          op: "agent.seal",
          retryable: true,
          hint: `lifeboat accept-rewind ${this.#options.name}`,
        },
      );
    }
    await capture.settle(options);
    capture.seal();
    await this.#untilKept(capture.head, options);
    const { hash } = capture.current(this.#canaryKey);
    const canary = hash === "" ? undefined : { key: this.#canaryKey, hash };
    return { digest: capture.digest, revision: `${capture.ring}/${capture.head}`, canary };
  }

  /** Where two agents of the target keep a journal each, either of them may be the one that starts the group. */
  async #untilKept(head: number, { signal }: { signal: AbortSignal }): Promise<void> {
    const { parts } = this.#options;
    if ((this.journalCount ?? 0) < 2) return;
    const kept = async (options: { signal: AbortSignal }): Promise<void> => {
      while (this.#durableSeq < head) await this.#acknowledged.wait(options);
    };
    await within(kept, keptWaitMs, { clock: parts.clock, signal });
  }

  /** What was written since the seal is seen again. Resolves with whether there was one. */
  async unseal(): Promise<boolean> {
    if (this.#capture?.isSealed !== true) return false;
    this.stopServing();
    await this.stopCapture();
    return true;
  }

  receivedCanary(): KeyAndHash | undefined {
    const hash = this.#options.journal.head(this.#canaryKey)?.hash ?? "";
    return hash === "" ? undefined : { key: this.#canaryKey, hash };
  }

  /** Agents of a pair live in namespaces of one name. */
  get #canaryKey(): ObjectKey {
    const { namespace } = this.#options.parts.config;
    return formatKey({ group: "", kind: "ConfigMap", namespace, name: canaryName(this.#options.name) });
  }

  #ensureCapture(): { readonly capture: GroupCapture; readonly group: ProtectionGroup } {
    const { parts, log, signal } = this.#options;
    const { pool, clock, random } = parts;
    const group = this.#validGroup();
    if (this.#capture !== undefined) return { capture: this.#capture, group };
    const capture = this.#newCapture(pool, this.#options.versions());
    this.#capture = capture;
    // It never sees what is gone already, and belongs to the group all the same.
    const { journal } = this.#options;
    const removed = readOrigin(journal) === "held" ? removedObjects(journal) : [];
    if (removed.length > 0) {
      this.#takenDown = new Map(removed.map(({ key, object }) => [key, parseJson(object) as KubeObject]));
    }
    this.#capturing = new Background({ name: "capture", clock, random, log, signal }, (inner) => capture.run(inner));
    return { capture, group };
  }

  #validGroup(): ProtectionGroup {
    const { group } = this.#options.specs;
    if (group !== undefined) return group;
    throw new LifeboatError("SpecInvalid", "the group has no valid spec", { op: "agent.serve" });
  }

  #newCapture(pool: WatchPool, versions: ObjectVersions | undefined): GroupCapture {
    const { parts, specs, name, log, journal, epoch } = this.#options;
    const { client, config, clock, random, metrics } = parts;
    return new GroupCapture({
      group: specs.ownObject(),
      spec: this.#validGroup().spec,
      site: config.site,
      pool,
      client,
      agentNamespace: config.namespace,
      epoch,
      isHeld: () => readOrigin(journal) === "held",
      isRemoved: (key) => removedObjects(journal).some((removed) => removed.key === key),
      versions,
      holderOf: this.#options.holderOf,
      onLag: (kind, ms) => metrics.observeLag(name, kind, ms),
      clock,
      random,
      log,
    });
  }
}
