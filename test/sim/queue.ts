/** Events in order of real time; ties in order of insertion. A binary heap. */
interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Queue {
  private readonly heap: Entry[] = [];
  private order = 0;

  push(at: number, run: () => void): void {
    const { heap } = this;
    const entry = { at, order: this.order++, run };
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(entry, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  /** Time of the next event; Infinity when there is none. */
  nextAt(): number {
    return this.heap[0]?.at ?? Infinity;
  }

  pop(): Entry | undefined {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      const left = 2 * i + 1;
      const l = heap[left];
      if (l === undefined) break;
      const r = heap[left + 1];
      const child = r !== undefined && before(r, l) ? left + 1 : left;
      const c = heap[child];
      if (c === undefined || !before(c, last)) break;
      heap[i] = c;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
