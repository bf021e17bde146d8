import { LifeboatError } from "../errors.ts";

/**
 * Text of an epoch: `GENERATION.COUNTER`, or `GENERATION.COUNTER.SITE` for one that a person forced at SITE. It is
 * what commands, annotations, batches and the admission guard's parameter carry. {@link compareEpochParts} is their
 * one order.
 */
export type EpochText = string;

const epochPattern = /^(\d{1,15})\.(\d{1,15})(?:\.([a-z0-9][a-z0-9-]*))?$/;

export interface EpochParts {
  readonly generation: number;
  readonly counter: number;
  /** The site at which a person forced this epoch, if so. */
  readonly forcedBy: string | undefined;
}

/** Throws ConfigInvalid on a text that is not an epoch. */
export function parseEpoch(text: EpochText): EpochParts {
  const match = epochPattern.exec(text);
  if (match === null) {
    throw new LifeboatError("ConfigInvalid", `not an epoch: ${JSON.stringify(text)}`, {
      hint: "an epoch looks like 1763700000.3; `lifeboat status GROUP` shows the current one",
    });
  }
  return { generation: Number(match[1]), counter: Number(match[2]), forcedBy: match[3] };
}

export function formatEpoch(parts: EpochParts): EpochText {
  const suffix = parts.forcedBy === undefined ? "" : `.${parts.forcedBy}`;
  return `${parts.generation}.${parts.counter}${suffix}`;
}

/** Negative, zero or positive as `a` is older than, as old as or newer than `b`. */
export function compareEpochs(a: EpochText, b: EpochText): number {
  return compareEpochParts(parseEpoch(a), parseEpoch(b));
}

/**
 * By generation, then counter. What a person forced comes after what the witness granted with the same numbers: a site
 * that was forced has gone on from there. Of two that were forced the names decide, the same at every site.
 */
export function compareEpochParts(a: EpochParts, b: EpochParts): number {
  return a.generation - b.generation || a.counter - b.counter || compareTexts(a.forcedBy ?? "", b.forcedBy ?? "");
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
