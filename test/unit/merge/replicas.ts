import { laterStamp, type Stamp, zeroStamp } from "../../../src/merge/hlc.ts";
import { deleted, type Entry, observed, received } from "../../../src/merge/replica.ts";

interface Site {
  readonly name: string;
  /** What its API server has. */
  readonly objects: Map<string, string>;
  /** What its agent has on its disk. */
  readonly entries: Map<string, Entry>;
  clock: Stamp;
  offsetMs: number;
}

interface Message {
  readonly to: number;
  readonly key: string;
  readonly entry: Entry;
}

/** Some sites with their agents, and a network that may bring what was sent late, twice, in any order or never. */
export class Replicas {
  readonly #sites: Site[];
  readonly #keys = new Set<string>();
  #messages: Message[] = [];
  #nowMs = 1_000_000;
  /** Writes that were given a version of their own. */
  mintedCount = 0;

  constructor(names: readonly string[]) {
    this.#sites = names.map((name) => ({
      name,
      objects: new Map(),
      entries: new Map(),
      clock: zeroStamp,
      offsetMs: 0,
    }));
  }

  get keyCount(): number {
    return this.#keys.size;
  }

  /** Somebody writes to a site's API server; its agent sees it. */
  write(site: number, key: string, content: string): void {
    const at = this.#at(site);
    if (content === deleted) at.objects.delete(key);
    else at.objects.set(key, content);
    this.#look(site, key);
  }

  #look(site: number, key: string): void {
    const at = this.#at(site);
    const before = at.entries.get(key);
    const content = at.objects.get(key) ?? deleted;
    const { entry, clock } = observed(before, content, {
      site: at.name,
      nowMs: this.#nowMs + at.offsetMs,
      clock: at.clock,
    });
    if (entry === before || entry === undefined) return;
    this.mintedCount++;
    this.#keys.add(key);
    at.clock = clock;
    at.entries.set(key, entry);
    this.#send(site, key);
  }

  #send(site: number, key: string): void {
    const entry = this.#at(site).entries.get(key);
    if (entry === undefined) return;
    for (const to of this.#sites.keys()) if (to !== site) this.#messages.push({ to, key, entry });
  }

  /** Brings one of the messages that are on their way; `keep`: it will come again. */
  deliver(which: number, { keep = false }: { keep?: boolean } = {}): void {
    const index = which % Math.max(1, this.#messages.length);
    const message = this.#messages[index];
    if (message === undefined) return;
    if (!keep) this.#messages.splice(index, 1);
    this.#receive(message);
  }

  #receive({ to, key, entry: theirs }: Message): void {
    const at = this.#at(to);
    // As the agent does: it looks at what is there before it writes.
    this.#look(to, key);
    const verdict = received(at.entries.get(key), theirs, { nowMs: this.#nowMs + at.offsetMs });
    if (verdict.kind === "known" || verdict.kind === "refused") return;
    if (verdict.kind === "take") {
      if (verdict.entry.content === deleted) at.objects.delete(key);
      else at.objects.set(key, verdict.entry.content);
    }
    at.entries.set(key, verdict.entry);
    at.clock = laterStamp(at.clock, verdict.entry.version.stamp);
    this.#send(to, key);
    // Its own watch tells of what it has written.
    this.#look(to, key);
  }

  drop(which: number): void {
    if (this.#messages.length > 0) this.#messages.splice(which % this.#messages.length, 1);
  }

  /** The agent ends and begins again: its disk has what it knew, and the clock begins anew. */
  restart(site: number): void {
    this.#at(site).clock = zeroStamp;
    this.offerAll(site);
  }

  /** What a new stream begins with, where the two ends differ. */
  offerAll(site: number): void {
    for (const key of this.#at(site).entries.keys()) this.#send(site, key);
  }

  wait(ms: number): void {
    this.#nowMs += ms;
  }

  setClock(site: number, offsetMs: number): void {
    this.#at(site).offsetMs = offsetMs;
  }

  /** Everything is offered once more and comes. Returns how many messages that took. */
  settle(): number {
    for (const site of this.#sites.keys()) this.offerAll(site);
    let count = 0;
    for (let message = this.#messages.shift(); message !== undefined; message = this.#messages.shift()) {
      this.#receive(message);
      if (++count > 100_000) throw new Error("the sites do not come to rest");
    }
    return count;
  }

  /** What each API server has. */
  states(): Record<string, string>[] {
    return this.#sites.map(({ objects }) => Object.fromEntries([...objects].sort(([a], [b]) => (a < b ? -1 : 1))));
  }

  #at(site: number): Site {
    const found = this.#sites[site % this.#sites.length];
    if (found === undefined) throw new RangeError("no such site");
    return found;
  }
}
