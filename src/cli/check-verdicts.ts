import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { messageOf } from "../errors.ts";

/** Outcome of one check. A warning is shown and does not fail the command. */
export interface Outcome {
  readonly verdict: "ok" | "warning" | "failed";
  readonly message: string;
  readonly hint?: string | undefined;
}

/** Leases rest on rates of clocks, not on their difference; what suffers from skew is what people read. */
const skewWarnMs = 2000;
/** Minor version of Kubernetes. */
const oldestMinor = 33;

/** @param version as the API server gives it, such as `v1.34.2` */
export function versionOutcome(server: string, version: string): Outcome {
  const minor = Number(/^v1\.(\d+)/.exec(version)?.[1] ?? 0);
  if (minor >= oldestMinor) return { verdict: "ok", message: `${server} is ${version}` };
  return { verdict: "warning", message: `${server} is ${version}; tested from v1.${oldestMinor} on` };
}

/**
 * @param stamp what the API server put on an object between the two times: RFC 3339 in whole seconds
 * @param asked this clock, in milliseconds since 1970, before and after the request
 */
export function clockOutcome(stamp: string, asked: { readonly startMs: number; readonly endMs: number }): Outcome {
  const middleMs = (asked.startMs + asked.endMs) / 2;
  // Its stamp has whole seconds: half a second in the middle.
  const skewMs = Math.round(Date.parse(stamp) + 500 - middleMs);
  if (Math.abs(skewMs) < skewWarnMs) return { verdict: "ok", message: "agrees with the API server's" };
  return {
    verdict: "warning",
    message: `differs from the API server's by ${(skewMs / 1000).toFixed(1)} s`,
    hint: "run NTP on both; lag stays right, but times in status and events will not fit together",
  };
}

/** Whether a folder can be written, or made where it is not there yet. Makes nothing. */
export async function folderOutcome(path: string): Promise<Outcome> {
  const place = await nearestExisting(resolve(path));
  const hint = "make the folder and let the agent's user write it, or choose another dataDir";
  if (!(await stat(place)).isDirectory()) return { verdict: "failed", message: `${place} is no folder`, hint };
  try {
    await access(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    return { verdict: "failed", message: `${place} cannot be written: ${messageOf(error)}`, hint };
  }
  if (place === resolve(path)) return { verdict: "ok", message: `${path} can be written` };
  return { verdict: "ok", message: `${path} is not there yet and can be made in ${place}` };
}

async function nearestExisting(path: string): Promise<string> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  return isThere || dirname(path) === path ? path : nearestExisting(dirname(path));
}
