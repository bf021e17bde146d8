import { LifeboatError } from "../errors.ts";

/**
 * Text of an epoch: `GENERATION.COUNTER`, or `GENERATION.COUNTER.SITE` for one that a person forced at SITE. It is
 * what commands, annotations, batches and the admission guard's parameter carry. Epochs are ordered by generation,
 * then counter; a forced site does not take part in the order.
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
  const left = parseEpoch(a);
  const right = parseEpoch(b);
  return left.generation - right.generation || left.counter - right.counter;
}
