/**
 * Durations as people write them in specs and configuration files: `500ms`, `5s`, `1m30s`, `1h`.
 */

const partPattern = /(\d+(?:\.\d+)?)(ms|s|m|h)/g;
const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** What a duration looks like; the same text goes into the CRD, so it keeps to RE2. */
export const durationPattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$";

/** Milliseconds of a duration that matches {@link durationPattern}; throws RangeError on any other text. */
export function parseDuration(text: string): number {
  if (!new RegExp(durationPattern).test(text)) throw new RangeError(`not a duration: ${JSON.stringify(text)}`);
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(partPattern)) {
    totalMs += Number(amount) * unitMs[unit as keyof typeof unitMs];
  }
  return totalMs;
}
