import { compareStamps, formatStamp, laterStamp, parseStamp, type Stamp } from "./hlc.ts";

/**
 * Which of an object's states is newer, and whether whoever wrote it knew of another one. A version vector per object
 * (D. S. Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983) whose entries are hybrid
 * logical stamps, so that it answers both questions: the latest stamp decides between two states (last writer wins, as
 * in the LWW element set of M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data
 * Types", 2011), and two vectors of which neither covers the other are two writers that did not know of each other.
 */
export interface Version {
  /** When the state was written. */
  readonly stamp: Stamp;
  /** Site that wrote it. */
  readonly site: string;
  /** Per site, the latest of its writes that this state knows of, its own included. */
  readonly seen: Readonly<Record<string, Stamp>>;
}

export type Relation = "same" | "older" | "newer" | "concurrent";

/** How `a` stands to `b`, by what each has seen. */
export function relate(a: Version, b: Version): Relation {
  const behind = covers(b.seen, a.seen);
  const ahead = covers(a.seen, b.seen);
  if (behind && ahead) return "same";
  if (behind) return "older";
  return ahead ? "newer" : "concurrent";
}

/** Whether `a` has seen all that `b` has. */
function covers(a: Version["seen"], b: Version["seen"]): boolean {
  return Object.entries(b).every(([site, stamp]) => {
    const own = a[site];
    return own !== undefined && compareStamps(own, stamp) >= 0;
  });
}

/** One total order at all sites: the later stamp, and of two equal ones the site's name. */
export function compareWriters(a: Version, b: Version): number {
  return compareStamps(a.stamp, b.stamp) || (a.site < b.site ? -1 : a.site > b.site ? 1 : 0);
}

/** The later writer's state, which from now on knows of both. Commutative, associative, idempotent. */
export function join(a: Version, b: Version): Version {
  const { stamp, site } = compareWriters(a, b) < 0 ? b : a;
  const seen: Record<string, Stamp> = { ...a.seen };
  for (const [name, theirs] of Object.entries(b.seen)) {
    const ours = seen[name];
    seen[name] = ours === undefined ? theirs : laterStamp(ours, theirs);
  }
  return { stamp, site, seen };
}

/** What `site` writes at `stamp`, knowing of `before`. */
export function write(before: Version | undefined, site: string, stamp: Stamp): Version {
  return { stamp, site, seen: { ...before?.seen, [site]: stamp } };
}

/** JSON-able; {@link decodeVersion} is the way back. */
export function encodeVersion({ stamp, site, seen }: Version): Record<string, unknown> {
  const stamps = Object.keys(seen)
    .sort()
    .flatMap((name) => {
      const own = seen[name];
      return own === undefined ? [] : [[name, formatStamp(own)] as const];
    });
  return { at: formatStamp(stamp), by: site, seen: Object.fromEntries(stamps) };
}

/** `undefined` for a value that is no version. */
export function decodeVersion(value: unknown): Version | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { at, by, seen } = value as { at?: unknown; by?: unknown; seen?: unknown };
  if (typeof at !== "string" || typeof by !== "string" || typeof seen !== "object" || seen === null) return undefined;
  const stamp = parseStamp(at);
  const stamps: Record<string, Stamp> = {};
  for (const [site, text] of Object.entries(seen)) {
    const one = typeof text === "string" ? parseStamp(text) : undefined;
    if (one === undefined) return undefined;
    stamps[site] = one;
  }
  return stamp === undefined ? undefined : { stamp, site: by, seen: stamps };
}
