import type { ObjectKey } from "../objects/key.ts";

/**
 * Counts how often the same manager took the same object's fields from us. After a few rounds the object is left
 * alone and reported: two controllers that write one field for ever help nobody.
 */

/** Rounds of repair before the object is left alone. */
export const contestRoundsMaxCount = 3;
/** Rounds further apart than this are separate incidents, each worth repairing. */
export const contestWindowMs = 10 * 60_000;

export interface Contested {
  readonly key: ObjectKey;
  readonly manager: string;
  readonly fields: readonly string[];
  readonly sinceMs: number;
}

interface Rounds {
  readonly manager: string;
  readonly atMs: readonly number[];
  readonly fields: readonly string[];
  /** Since when the object is left alone. */
  readonly lostMs: number | undefined;
  /** The last of them is being repaired: however often that is tried, it is one round. */
  readonly open: boolean;
}

export class ContestTable {
  readonly #rounds = new Map<ObjectKey, Rounds>();

  /** `manager` took `fields`: `true` when that should be repaired, `false` when the object is left alone. */
  enter(key: ObjectKey, manager: string, fields: readonly string[], nowMs: number): boolean {
    const known = this.#rounds.get(key);
    const same = known?.manager === manager ? known : undefined;
    if (same?.open === true) return true;
    const recent = (same?.atMs ?? []).filter((atMs) => nowMs - atMs < contestWindowMs);
    const lostMs = same?.lostMs ?? (recent.length >= contestRoundsMaxCount ? nowMs : undefined);
    const open = lostMs === undefined;
    this.#rounds.set(key, { manager, atMs: [...recent, nowMs].slice(-contestRoundsMaxCount), fields, lostMs, open });
    return open;
  }

  /** The object is again as it should be. */
  repaired(key: ObjectKey): void {
    const known = this.#rounds.get(key);
    if (known?.open === true) this.#rounds.set(key, { ...known, open: false });
  }

  /** The other manager gave in, the object is gone, or a person wants it tried again. */
  forget(key: ObjectKey): void {
    this.#rounds.delete(key);
  }

  clear(): void {
    this.#rounds.clear();
  }

  isContested(key: ObjectKey): boolean {
    return this.#rounds.get(key)?.lostMs !== undefined;
  }

  contested(): Contested[] {
    const result: Contested[] = [];
    for (const [key, { manager, fields, lostMs }] of this.#rounds) {
      if (lostMs !== undefined) result.push({ key, manager, fields, sinceMs: lostMs });
    }
    return result;
  }
}
