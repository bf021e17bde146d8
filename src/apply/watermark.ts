import type { ObjectKey } from "../objects/key.ts";

/**
 * Up to which sequence number everything is applied. Each key counts from the *first* state of it that is not
 * applied yet, so that a key that changes faster than it is applied holds the mark where it really is.
 *
 * A key that fails for good (see {@link excuse}) no longer holds the mark: it is reported as failing instead, by
 * name and since when. Otherwise one object that the standby can never hold would make the lag of all others unknown.
 */
export class Watermark {
  /** Of each key that waits: the first state that is not applied, and the first received since work on it began. */
  readonly #pending = new Map<ObjectKey, { from: number; next: number | undefined }>();
  readonly #excused = new Set<ObjectKey>();
  /** Keys that are being worked on. */
  readonly #started = new Set<ObjectKey>();
  readonly #heap = new MinHeap();
  #ceiling = 0;

  /** Keys that are received and not applied, those that fail included. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Keys that hold the mark: received, not applied, and not failing for good. */
  get holdingCount(): number {
    return this.#pending.size - this.#excused.size;
  }

  received(key: ObjectKey, seq: number): void {
    const pending = this.#pending.get(key);
    if (pending === undefined) {
      this.#pending.set(key, { from: seq, next: this.#started.has(key) ? seq : undefined });
      this.#heap.push(seq, key);
    } else {
      pending.next ??= seq;
    }
  }

  /** The newest received state of `key` is at the standby. */
  applied(key: ObjectKey): void {
    this.#started.delete(key);
    this.#excused.delete(key);
    this.#pending.delete(key);
  }

  /** A state of `key` is at the standby, but newer ones have been received since: those are what is missing. */
  overtaken(key: ObjectKey): void {
    this.#started.delete(key);
    this.#excused.delete(key);
    const pending = this.#pending.get(key);
    if (pending === undefined || pending.next === undefined) return;
    pending.from = pending.next;
    pending.next = undefined;
    this.#heap.push(pending.from, key);
  }

  /** Work on the present state of `key` begins: what is received from now on is newer than what is being written. */
  started(key: ObjectKey): void {
    this.#started.add(key);
    const pending = this.#pending.get(key);
    if (pending !== undefined) pending.next = undefined;
  }

  /** The key is failing: it does not hold the mark until it is applied. */
  excuse(key: ObjectKey): void {
    if (this.#pending.has(key)) this.#excused.add(key);
  }

  /** The stream's position: the mark is never above it. */
  reached(seq: number): void {
    this.#ceiling = seq;
  }

  /** Sequence numbers start over: what still waits from the old ring counts as older than anything in the new one. */
  newRing(): void {
    this.#ceiling = 0;
    this.#heap.clear();
    for (const [key, pending] of this.#pending) {
      pending.from = 1;
      pending.next = undefined;
      this.#heap.push(1, key);
    }
  }

  value(): number {
    for (let top = this.#heap.peek(); top !== undefined; top = this.#heap.peek()) {
      const pending = this.#pending.get(top.key);
      const holds = pending !== undefined && pending.from === top.seq && !this.#excused.has(top.key);
      if (holds) return Math.min(this.#ceiling, top.seq - 1);
      this.#heap.pop();
    }
    return this.#ceiling;
  }
}

interface HeapItem {
  readonly seq: number;
  readonly key: ObjectKey;
}

/** A binary heap; entries that no longer hold are dropped when they reach the top. */
class MinHeap {
  #items: HeapItem[] = [];

  clear(): void {
    this.#items = [];
  }

  peek(): HeapItem | undefined {
    return this.#items[0];
  }

  push(seq: number, key: ObjectKey): void {
    const items = this.#items;
    let at = items.length;
    items.push({ seq, key });
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#less(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): void {
    const last = this.#items.pop();
    if (last === undefined || this.#items.length === 0) return;
    this.#items[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      let least = at;
      if (this.#less(left, least)) least = left;
      if (this.#less(left + 1, least)) least = left + 1;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #less(a: number, b: number): boolean {
    const left = this.#items[a];
    const right = this.#items[b];
    return left !== undefined && right !== undefined && left.seq < right.seq;
  }

  #swap(a: number, b: number): void {
    const left = this.#items[a];
    const right = this.#items[b];
    if (left === undefined || right === undefined) return;
    this.#items[a] = right;
    this.#items[b] = left;
  }
}
