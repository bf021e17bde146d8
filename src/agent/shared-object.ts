import { hasCode, LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import type { KubeObject } from "../objects/object.ts";

/** Label of the Secrets that hold a site's records; its value is the site. */
export const sharedLabel = "lifeboat.dev/records";
const dataKey = "records";
/** As long as a protocol that waits for its record goes on as if nothing were written: then the outcome is open. */
const writeTimeoutMs = 2000;
/** Another writer is a former leader, and it is told so by its first conflict. */
const attemptsMax = 4;

/** What one Secret holds. */
export interface Stored {
  /** Of the leader that wrote it. */
  readonly term: number;
  /** Who that was: two that begin at the same time may have the same term. */
  readonly leader: string;
  /** Grows with each write, over all terms. */
  readonly writes: number;
  /** null for what belongs to no group. */
  readonly group: string | null;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Found {
  readonly stored: Stored;
  /** Of the Secret; undefined where there is none. */
  readonly version: string | undefined;
}

export interface SharedObjectOptions {
  readonly client: KubeClient;
  readonly place: { readonly namespace: string; readonly name: string };
  readonly site: string;
  readonly group: string | null;
  readonly term: number;
  readonly leader: string;
  readonly stored: Stored | undefined;
  readonly version: string | undefined;
  /** It is in the API server. Must not throw. */
  readonly onWritten: (stored: Stored) => void;
  /** A later leader has written it. Must not throw. */
  readonly onFollowed: (term: number) => void;
}

type Values = Readonly<Record<string, unknown>>;

interface Waiting {
  readonly change: Values;
  readonly written: PromiseWithResolvers<void>;
}

/** Named values in one Secret, written by compare-and-swap; what waits to be written is read as if it were. */
export class SharedObject {
  readonly group: string | null;
  readonly #options: SharedObjectOptions;
  #stored: Stored | undefined;
  #version: string | undefined;
  #waiting: Waiting[] = [];
  /** Being written. */
  #underway: readonly Waiting[] = [];
  #isWriting = false;
  #followedBy: number | undefined;

  constructor(options: SharedObjectOptions) {
    this.#options = options;
    this.group = options.group;
    this.#stored = options.stored;
    this.#version = options.version;
  }

  get(name: string): unknown {
    const late = [...this.#underway, ...this.#waiting].findLast(({ change }) => name in change);
    return late === undefined ? this.#stored?.values[name] : late.change[name];
  }

  readonly names = (): string[] => {
    const all = new Set(Object.keys(this.#stored?.values ?? {}));
    for (const { change } of [...this.#underway, ...this.#waiting]) for (const name in change) all.add(name);
    return [...all].filter((name) => this.get(name) !== undefined);
  };

  /** Resolves when it is in the API server; a rejection other than FailoverRefused leaves open whether it is. */
  async put(change: Values): Promise<void> {
    const waiting: Waiting = { change, written: Promise.withResolvers<void>() };
    this.#waiting.push(waiting);
    if (!this.#isWriting) void this.#writeAll();
    await waiting.written.promise;
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      this.#underway = this.#waiting;
      this.#waiting = [];
      const settled = await this.#write(
        Object.assign({}, ...this.#underway.map(({ change }) => change)) as Values,
      ).then(
        () => (each: Waiting) => each.written.resolve(),
        (error: unknown) => (each: Waiting) => each.written.reject(error),
      );
      const done = this.#underway;
      this.#underway = [];
      for (const each of done) settled(each);
    }
    this.#isWriting = false;
  }

  async #write(change: Values): Promise<void> {
    const signal = AbortSignal.timeout(writeTimeoutMs);
    for (let attempt = 1; ; attempt++) {
      this.#refuseIfFollowed();
      const next = this.#next(change);
      try {
        this.#version = (await this.#send(next, signal)).metadata.resourceVersion;
        this.#stored = next;
        this.#options.onWritten(next);
        return;
      } catch (error) {
        const another = hasReason(error, "Conflict") || hasReason(error, "AlreadyExists") || hasCode(error, "NotFound");
        if (!another || attempt >= attemptsMax) throw error;
      }
      await this.#look(signal);
    }
  }

  #next(change: Values): Stored {
    const { term, leader, group } = this.#options;
    const merged: Record<string, unknown> = { ...this.#stored?.values, ...change };
    const values = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== undefined));
    return { term, leader, writes: (this.#stored?.writes ?? 0) + 1, group, values };
  }

  async #send(stored: Stored, signal: AbortSignal): Promise<KubeObject> {
    const { client, place, site } = this.#options;
    const options = { fieldManager: "lifeboat", timeoutMs: writeTimeoutMs, signal };
    const version = this.#version;
    const secret: KubeObject = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: {
        ...place,
        labels: { [sharedLabel]: site },
        ...(version === undefined ? {} : { resourceVersion: version }),
      },
      type: "lifeboat.dev/records",
      data: { [dataKey]: Buffer.from(JSON.stringify(stored)).toString("base64") },
    };
    return version === undefined
      ? client.create(resources.secrets, secret, options)
      : client.put(resources.secrets, secret, options);
  }

  /** Somebody else has written it, or one's own write was done whose answer was lost. */
  async #look(signal: AbortSignal): Promise<void> {
    const { client, place, term, leader, onFollowed } = this.#options;
    const secret = await client.find(resources.secrets, place, { signal });
    const there = secret === undefined ? undefined : storedIn(secret);
    this.#version = secret?.metadata.resourceVersion;
    if (there === undefined) return;
    // What this leader has never read is its predecessor's; of what it has, it knows the latest.
    this.#stored ??= there;
    const isAnother = there.term > term || (there.term === term && there.leader !== leader);
    if (!isAnother || this.#followedBy !== undefined) return;
    this.#followedBy = there.term;
    onFollowed(there.term);
  }

  #refuseIfFollowed(): void {
    if (this.#followedBy === undefined) return;
    const { place, term } = this.#options;
    throw new LifeboatError(
      "FailoverRefused",
      `an agent with term ${this.#followedBy} leads this site and wrote ${place.name}; this one has ${term}`,
      { op: "agent.records", hint: "this agent stands by" },
    );
  }
}

/** Undefined for a Secret that holds nothing of the kind. */
export function storedIn(secret: KubeObject): Stored | undefined {
  const { [dataKey]: text } = (secret["data"] ?? {}) as Readonly<Record<string, string>>;
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(Buffer.from(text, "base64").toString()) as Partial<Stored> | null;
    const { term, leader = "", writes, group = null, values } = value ?? {};
    if (typeof term !== "number" || typeof writes !== "number" || typeof values !== "object") return undefined;
    return { term, leader, writes, group, values };
  } catch {
    return undefined;
  }
}
