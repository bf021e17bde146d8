import { nanosOf } from "../objects/quantity.ts";

/**
 * Comparison of what was rendered with what an API server holds: the server adds (defaults, status, allocated
 * addresses), so the question is what of the rendered object is *not* there.
 */
export interface Difference {
  /** `spec.template.spec.containers[0].image` */
  readonly path: string;
  /** `missing`: the live object does not have it. `value`: it has another value. `rounded`: an integer lost digits. */
  readonly what: "missing" | "value" | "rounded";
}

/** A list that ends early still names the first differences; more are of no use to a person. */
const differencesMaxCount = 20;

/** What of `desired` is not in `live`, in order, at most 20. Values are never part of the answer. */
export function differences(desired: unknown, live: unknown): Difference[] {
  const found: Difference[] = [];
  compare(desired, live, "", found);
  return found;
}

function compare(desired: unknown, live: unknown, path: string, found: Difference[]): void {
  if (desired === live || found.length >= differencesMaxCount) return;
  if (Array.isArray(desired)) return compareLists(desired, live, path, found);
  if (isRecord(desired) && !isRaw(desired)) return compareRecords(desired, live, path, found);
  if (live === undefined) {
    if (!isEmpty(desired)) found.push({ path, what: "missing" });
    return;
  }
  if (!sameScalar(desired, live, path)) found.push({ path, what: isRounded(desired, live) ? "rounded" : "value" });
}

function compareRecords(desired: Record<string, unknown>, live: unknown, path: string, found: Difference[]): void {
  if (!isRecord(live)) {
    if (!isEmpty(desired)) found.push({ path, what: live === undefined ? "missing" : "value" });
    return;
  }
  for (const name of Object.keys(desired)) {
    compare(desired[name], live[name], path === "" ? name : `${path}.${name}`, found);
  }
}

function compareLists(desired: readonly unknown[], live: unknown, path: string, found: Difference[]): void {
  if (desired.length === 0 && live === undefined) return;
  if (!Array.isArray(live)) {
    found.push({ path, what: live === undefined ? "missing" : "value" });
    return;
  }
  const items = live as readonly unknown[];
  for (const [index, item] of desired.entries()) {
    const inPlace: Difference[] = [];
    compare(item, items[index], `${path}[${index}]`, inPlace);
    if (inPlace.length === 0) continue;
    const other = counterpart(item, items, `${path}[${index}]`);
    if (other === undefined) found.push(...inPlace);
    else compare(item, other, `${path}[${index}]`, found);
  }
}

/** The item that stands for the same thing at another place of a list that the server sorts or adds to. */
function counterpart(item: unknown, items: readonly unknown[], path: string): unknown {
  if (!isRecord(item)) return items.find((other) => sameScalar(item, other, path));
  for (const field of ["name", "key", "type", "port", "containerPort", "mountPath", "ip"]) {
    const key = item[field];
    if (key === undefined) continue;
    const same = items.filter((other) => isRecord(other) && other[field] === key);
    if (same.length === 1) return same[0];
  }
  return items.find((other) => differences(item, other).length === 0);
}

/** Text that API servers leave as it is: in it `1` and `1000m` are two things. */
const verbatim = /^(data|stringData|metadata)\.|\.env\[\d+\]\.value$|\.(args|command)\[\d+\]$/;

function sameScalar(desired: unknown, live: unknown, path: string): boolean {
  if (desired === live) return true;
  const left = scalarText(desired);
  const right = scalarText(live);
  if (left === undefined || right === undefined) return isEmpty(desired) && isEmpty(live);
  if (left === right) return true;
  if (typeof desired !== "string" && typeof live !== "string") {
    // Other spellings of one number; beyond 2^53 equal doubles may stand for different integers.
    return Number(left) === Number(right) && Math.abs(Number(left)) <= Number.MAX_SAFE_INTEGER;
  }
  // API servers rewrite `1000m` as `1`.
  if (verbatim.test(path)) return false;
  const amount = nanosOf(left);
  return amount !== undefined && amount === nanosOf(right);
}

/** An integer that came back as another number: the API server holds 64-bit integers only. */
function isRounded(desired: unknown, live: unknown): boolean {
  const left = scalarText(desired);
  return left !== undefined && typeof desired !== "string" && /^-?\d{16,}$/.test(left) && typeof live !== "string";
}

function scalarText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (isRaw(value)) return JSON.stringify(value);
  return undefined;
}

/** Go leaves empty values out when it writes JSON, so absent, null, empty text, list and object are one. */
function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && !isRaw(value) && Object.values(value).every(isEmpty);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isRaw(value: unknown): boolean {
  return (JSON as unknown as { isRawJSON: (value: unknown) => boolean }).isRawJSON(value);
}
