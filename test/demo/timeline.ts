/** What happened when, in milliseconds since the kill. */
export interface TimelineEntry {
  readonly event: string;
  readonly atMs: number;
}

/** Events by name with the wall clock's time, and their order. All processes of the demo share one clock. */
export class Timeline {
  readonly #events = new Map<string, number>();

  /** The first time counts. */
  note(event: string, atMs: number = Date.now()): void {
    if (!this.#events.has(event)) this.#events.set(event, atMs);
  }

  at(event: string): number | undefined {
    return this.#events.get(event);
  }

  since(zeroMs: number): TimelineEntry[] {
    return [...this.#events]
      .map(([event, atMs]) => ({ event, atMs: Math.round(atMs - zeroMs) }))
      .toSorted((a, b) => a.atMs - b.atMs);
  }
}
