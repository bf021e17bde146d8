/** Whether the surviving site of a group that runs at both carries the load of both. Pure. */

/** What is known of the other site at one moment. */
export interface PeerSigns {
  /** This site holds the group's epoch. */
  readonly isHolder: boolean;
  /** Age of its last sign of life by any direct way; null when none ever came. */
  readonly heardAgoMs: number | null;
  /** The witness hears it. */
  readonly isSeenByWitness: boolean;
  /** Everything that it offers is here. */
  readonly isCurrent: boolean;
}

export interface SurgeState {
  readonly on: boolean;
  /** Since when what would change it holds; undefined while it does not. */
  readonly sinceMs: number | undefined;
}

export interface SurgeLimits {
  /** Silence of the other site, to this one and to the witness, after which it counts as lost. */
  readonly lostAfterMs: number;
  /** It has returned when it was heard for so long and everything of it is here. */
  readonly returnedAfterMs: number;
}

export const noSurge: SurgeState = { on: false, sinceMs: undefined };

/** `nowMs` is monotonic. */
export function surgeAfter(state: SurgeState, signs: PeerSigns, limits: SurgeLimits, nowMs: number): SurgeState {
  // The epoch is elsewhere: so is what is lost.
  if (!signs.isHolder) return noSurge;
  const isSilent = (signs.heardAgoMs ?? Infinity) >= limits.lostAfterMs && !signs.isSeenByWitness;
  const isBack = (signs.heardAgoMs ?? Infinity) < limits.lostAfterMs && signs.isCurrent;
  const isDue = state.on ? isBack : isSilent;
  if (!isDue) return { on: state.on, sinceMs: undefined };
  const sinceMs = state.sinceMs ?? nowMs;
  // A process that has just begun has heard nobody yet.
  const enough = nowMs - sinceMs >= (state.on ? limits.returnedAfterMs : limits.lostAfterMs);
  return enough ? { on: !state.on, sinceMs: undefined } : { on: state.on, sinceMs };
}
