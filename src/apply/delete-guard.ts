/**
 * Decides whether a delete that came from the source is carried out at the standby. When more of a group vanishes
 * at once than its spec allows (a namespace deleted by mistake, a broken watch), deletes pause until a person
 * confirms them; creates and updates go on. Pure: time and counts come in, decisions go out.
 */
export interface GuardLimits {
  /** Share of the group's objects, in percent. */
  readonly percent: number;
  /** Fewer deletes than this never count as too many. */
  readonly minObjects: number;
  readonly windowMs: number;
}

/** The part that must survive a restart. */
export interface GuardRecord {
  /** Deletes are paused. */
  readonly paused?: { readonly sinceWallMs: number; readonly count: number; readonly of: number };
  /** Keys whose delete a person confirmed and that are not all carried out yet. */
  readonly confirmed?: readonly string[];
}

export interface GuardState extends GuardRecord {
  /** Deletes of the last window: when, how many, oldest first. At most one entry per batch of the stream. */
  readonly recent: ReadonlyArray<{ readonly atMs: number; readonly count: number }>;
}

export function initialGuard(record: GuardRecord | undefined): GuardState {
  return { ...record, recent: [] };
}

/**
 * `count` deletes have come in, from a group of `size` objects (those already deleted in this window not counted).
 * `nowMs` is monotonic; `wallMs` is what the pause is reported with.
 */
export function observeDeletes(
  state: GuardState,
  deletes: { readonly count: number; readonly size: number },
  limits: GuardLimits,
  time: { readonly nowMs: number; readonly wallMs: number },
): GuardState {
  if (deletes.count === 0) return state;
  const recent = [
    ...state.recent.filter((entry) => time.nowMs - entry.atMs < limits.windowMs),
    { atMs: time.nowMs, count: deletes.count },
  ];
  if (state.paused !== undefined) return { ...state, recent };
  const vanished = recent.reduce((sum, entry) => sum + entry.count, 0);
  const before = deletes.size + vanished;
  const limit = Math.max(limits.minObjects, (before * limits.percent) / 100);
  if (vanished <= limit) return { ...state, recent };
  return { ...state, recent, paused: { sinceWallMs: time.wallMs, count: vanished, of: before } };
}

export function mayDelete(state: GuardState, key: string): boolean {
  return state.paused === undefined || (state.confirmed?.includes(key) ?? false);
}

/** A person has confirmed what is pending: those keys go, later ones are counted anew. */
export function confirmDeletes(state: GuardState, pending: readonly string[]): GuardState {
  const { paused, ...rest } = state;
  return paused === undefined ? state : { ...rest, recent: [], confirmed: [...pending] };
}

/** What is to be stored; `undefined` when there is nothing to remember. */
export function guardRecord(state: GuardState): GuardRecord | undefined {
  if (state.paused === undefined && state.confirmed === undefined) return undefined;
  return {
    ...(state.paused === undefined ? {} : { paused: state.paused }),
    ...(state.confirmed === undefined ? {} : { confirmed: state.confirmed }),
  };
}
