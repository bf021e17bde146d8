import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Normalised } from "../../../src/capture/normalise.ts";
import { ChangeRing } from "../../../src/capture/ring.ts";
import { systemClock } from "../../../src/clock.ts";
import type { GroupSpec } from "../../../src/config/group.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { Merger } from "../../../src/merge/merger.ts";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { MemorySite } from "./memory-site.ts";

/** One site of two: its API server, its agent's merging, and what it offers. */
export class MergingSite {
  readonly name: string;
  readonly api: MemorySite;
  readonly #folder = mkdtempSync(join(tmpdir(), "lifeboat-merge-"));
  readonly #spec: () => GroupSpec;
  journal: Journal;
  merger: Merger;
  ring = new ChangeRing();
  ringName = "1";
  singlesHere = false;
  isToldOfSingles = true;
  surgePercent: number | undefined;
  offsetMs = 0;
  #stop = new AbortController();
  #ended: Promise<unknown> = Promise.resolve();
  #seq = 0;
  #readRing = "";

  constructor(name: string, spec: () => GroupSpec) {
    this.name = name;
    this.#spec = spec;
    this.api = new MemorySite(name, () => this.wallMs());
    this.journal = this.#openJournal();
    this.merger = this.#newMerger();
    this.#run();
  }

  wallMs(): number {
    return Date.now() + this.offsetMs;
  }

  #openJournal(): Journal {
    return Journal.open({ path: join(this.#folder, "g.db"), group: "shop" });
  }

  #newMerger(): Merger {
    return new Merger({
      journal: this.journal,
      objects: this.api,
      group: "shop",
      site: this.name,
      spec: this.#spec,
      epoch: () => "1.1",
      singles: () => (this.isToldOfSingles ? (this.singlesHere ? "here" : "elsewhere") : "unknown"),
      isPaused: () => false,
      surgePercent: () => this.surgePercent,
      taken: () => new Map(),
      offer: (key, state) => this.#offer(key, state),
      isGroups: () => true,
      clock: { ...systemClock, wallMs: () => this.wallMs() },
      random: Math.random,
      log: silentLog,
      onChange: () => undefined,
      onConflict: () => undefined,
      onWrite: () => undefined,
    });
  }

  #run(): void {
    this.#stop = new AbortController();
    this.#ended = this.merger.run({ signal: this.#stop.signal }).catch(() => undefined);
  }

  #offer(key: ObjectKey, state: Normalised | undefined): void {
    if (state === undefined) this.ring.remove(key);
    else this.ring.put(key, state);
  }

  /** Tells the agent of up to so many events of its API server. */
  watch(maxCount = Infinity): number {
    const events = this.api.events.splice(0, maxCount);
    for (const { key, object } of events) {
      if (object === undefined) this.merger.gone(key);
      else {
        const state = this.merger.seen(key, object);
        if (state !== undefined) this.ring.put(key, state);
      }
    }
    return events.length;
  }

  /** Takes what the other site offers, as its stream brings it. */
  async pull(from: MergingSite): Promise<number> {
    const records = from.ring.read(this.#readRing === from.ringName ? this.#seq : 0, { maxCount: 1e6, maxBytes: 1e9 });
    const isNew = this.#readRing !== from.ringName;
    // A new ring compares: what it does not have is over.
    const offered = new Set(records.map(({ key }) => key));
    const over = isNew ? [...this.journal.entries()].filter(([key]) => !offered.has(key)) : [];
    if (records.length + over.length === 0 && !isNew) return 0;
    this.#readRing = from.ringName;
    this.#seq = from.ring.head;
    const gone = over.map(([key]) => ({ seq: from.ring.head, key, hash: "", object: undefined, managers: "[]" }));
    const batch = {
      epoch: "1.1",
      records: [...records, ...gone],
      position: { ring: from.ringName, seq: from.ring.head },
      complete: true,
    };
    await this.journal.commit(batch, { signal: new AbortController().signal });
    return batch.records.length;
  }

  /** Another agent goes on, which has the journal and nothing that this one has noted. */
  async loseNotes(): Promise<void> {
    const names = this.journal.ownStates().filter((name) => name.startsWith("merge/"));
    await this.journal.putOwnStates(new Map(names.map((name) => [name, undefined])));
    await this.restart();
  }

  /** The agent ends, and another process goes on with its disk. `leftOut`: what capture does not take. */
  async restart(leftOut: ReadonlySet<ObjectKey> = new Set()): Promise<void> {
    this.#stop.abort(new Error("restarted"));
    await this.#ended;
    this.journal.close();
    this.journal = this.#openJournal();
    this.ring = new ChangeRing();
    this.ringName = String(Number(this.ringName) + 1);
    this.api.events.length = 0;
    this.#readRing = "";
    this.merger = this.#newMerger();
    for (const [key, state] of this.merger.tombstones()) this.ring.put(key, state);
    this.#run();
    for (const [key, object] of this.api.all()) {
      const state = leftOut.has(key) ? undefined : this.merger.seen(key, object);
      if (state !== undefined) this.ring.put(key, state);
    }
    const has = (key: ObjectKey): boolean => this.api.get(key) !== undefined && !leftOut.has(key);
    this.merger.compare({ has, isKnown: () => true });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("over"));
    await this.#ended;
    this.journal.close();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Brings everything to both until nothing moves any more. */
export async function settle(east: MergingSite, west: MergingSite, maxRounds = 400): Promise<void> {
  let quiet = 0;
  for (let round = 0; quiet < 5; round++) {
    if (round > maxRounds) throw new Error("the sites do not come to rest");
    const moved = east.watch() + west.watch() + (await east.pull(west)) + (await west.pull(east));
    await delay(2);
    const pending = [east, west].some(({ merger }) => {
      const { pending: left, failing } = merger.status();
      return left > failing.size;
    });
    quiet = moved === 0 && !pending ? quiet + 1 : 0;
  }
}
