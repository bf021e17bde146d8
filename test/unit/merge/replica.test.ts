import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { aheadMs, driftMaxMs, formatStamp, parseStamp, tick, zeroStamp } from "../../../src/merge/hlc.ts";
import { deleted, type Entry, observed, received } from "../../../src/merge/replica.ts";
import { decodeVersion, encodeVersion, join, relate, type Version, write } from "../../../src/merge/version.ts";
import { Replicas } from "./replicas.ts";

const siteNames = ["east", "west", "north"] as const;

/** What may happen to sites that replicate to each other. */
const stepArbitrary = (sites: number) =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        what: fc.constantFrom("write", "delete"),
        site: fc.nat(sites - 1),
        key: fc.constantFrom("a", "b", "c"),
        value: fc.nat(5),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ what: fc.constantFrom("deliver", "duplicate", "drop"), at: fc.nat(1000) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ what: fc.constantFrom("restart", "offer"), site: fc.nat(sites - 1) }),
    },
    { weight: 1, arbitrary: fc.record({ what: fc.constant("wait"), ms: fc.nat(5000) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        what: fc.constant("clock"),
        site: fc.nat(sites - 1),
        ms: fc.integer({ min: -driftMaxMs / 3, max: driftMaxMs / 3 }),
      }),
    },
  );
type Step = {
  what: string;
  site?: number;
  key?: string;
  value?: number;
  at?: number;
  ms?: number;
};

function play(sites: number, steps: readonly Step[]): Replicas {
  const replicas = new Replicas(siteNames.slice(0, sites));
  for (const { what, site = 0, key = "", value = 0, at = 0, ms = 0 } of steps) {
    if (what === "write") replicas.write(site, key, `v${value}`);
    else if (what === "delete") replicas.write(site, key, deleted);
    else if (what === "deliver") replicas.deliver(at);
    else if (what === "duplicate") replicas.deliver(at, { keep: true });
    else if (what === "drop") replicas.drop(at);
    else if (what === "restart") replicas.restart(site);
    else if (what === "offer") replicas.offerAll(site);
    else if (what === "wait") replicas.wait(ms);
    else replicas.setClock(site, ms);
  }
  return replicas;
}

describe.each([2, 3])("%i sites that write to the same objects", (sites) => {
  test("hold the same once everything has come, in any order, twice, late, after restarts and by clocks that differ", () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary(sites), { maxLength: 60 }), (steps) => {
        const replicas = play(sites, steps);
        replicas.settle();
        const [first, ...others] = replicas.states();
        for (const state of others) expect(state).toEqual(first);
      }),
      { numRuns: 600 },
    );
  });

  test("fall silent: nothing that Lifeboat has written itself is sent as a new write", () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary(sites), { maxLength: 60 }), (steps) => {
        const replicas = play(sites, steps);
        const minted = replicas.mintedCount;
        // Three keys, each offered once by each site after each thing that it can still learn of another.
        expect(replicas.settle()).toBeLessThanOrEqual(3 * sites * sites * (sites + 1) * 4);
        expect(replicas.mintedCount).toBe(minted);
        expect(replicas.settle()).toBe(sites * (sites - 1) * replicas.keyCount);
      }),
      { numRuns: 300 },
    );
  });
});

describe("a deletion", () => {
  const at = (ms: number) => ({ site: "east", nowMs: ms, clock: zeroStamp });
  const wrote = (entry: Entry | undefined, content: string, site: string, ms: number): Entry => {
    const { entry: next } = observed(entry, content, { site, nowMs: ms, clock: zeroStamp });
    if (next === undefined) throw new Error("nothing was written");
    return next;
  };

  test("is not undone by a write that is older, whether that had seen the object or not", () => {
    const created = wrote(undefined, "v1", "west", 1000);
    const gone = wrote(created, deleted, "east", 5000);
    expect(received(gone, created, at(6000)).kind).toBe("known");
    const older = wrote(created, "v2", "west", 4000);
    expect(received(gone, older, at(6000))).toMatchObject({
      kind: "keep",
      conflict: true,
      entry: { content: deleted },
    });
    const unaware = wrote(undefined, "v3", "west", 3000);
    expect(received(gone, unaware, at(6000))).toMatchObject({ kind: "keep", entry: { content: deleted } });
  });

  test("gives way to a write that is later", () => {
    const created = wrote(undefined, "v1", "west", 1000);
    const gone = wrote(created, deleted, "east", 5000);
    const later = wrote(created, "v2", "west", 5500);
    expect(received(gone, later, at(6000))).toMatchObject({ kind: "take", conflict: true, entry: { content: "v2" } });
  });

  test("of what was never here is nothing", () => {
    expect(observed(undefined, deleted, at(1)).entry).toBeUndefined();
  });
});

describe("two writers", () => {
  const here = (site: string, nowMs: number) => ({ site, nowMs, clock: zeroStamp });

  test("that did not know of each other are a conflict, the later one wins at both sites, and it is found once", () => {
    const base = observed(undefined, "v0", here("east", 1000)).entry;
    const east = observed(base, "v1", here("east", 5000)).entry as Entry;
    const west = observed(base, "v2", here("west", 5001)).entry as Entry;
    const atEast = received(east, west, { nowMs: 6000 });
    const atWest = received(west, east, { nowMs: 6000 });
    expect(atEast).toMatchObject({ kind: "take", conflict: true, entry: { content: "v2" } });
    expect(atWest).toMatchObject({ kind: "keep", conflict: true, entry: { content: "v2" } });
    if (atEast.kind !== "take" || atWest.kind !== "keep") return;
    expect(atEast.entry).toEqual(atWest.entry);
    expect(received(atEast.entry, atWest.entry, { nowMs: 6001 }).kind).toBe("known");
  });

  test("of which one knew of the other are none, also where its clock is behind", () => {
    const east = observed(undefined, "v1", here("east", 50_000)).entry as Entry;
    const west = observed(east, "v2", here("west", 1000)).entry as Entry;
    expect(received(east, west, { nowMs: 50_001 })).toMatchObject({ kind: "take", conflict: false });
    expect(received(west, east, { nowMs: 1001 }).kind).toBe("known");
  });

  test("that say the same are no conflict", () => {
    const east = observed(undefined, "v1", here("east", 1000)).entry as Entry;
    const west = observed(undefined, "v1", here("west", 2000)).entry as Entry;
    expect(received(east, west, { nowMs: 3000 })).toMatchObject({ kind: "keep", conflict: false });
  });
});

describe("a clock", () => {
  test("that is too far ahead is not followed until time has passed", () => {
    const stamp = { ms: 1_000_000 + driftMaxMs + 1, count: 0 };
    const theirs: Entry = { version: write(undefined, "west", stamp), content: "v1" };
    const verdict = received(undefined, theirs, { nowMs: 1_000_000 });
    expect(verdict).toEqual({ kind: "refused", aheadMs: driftMaxMs + 1 });
    expect(received(undefined, theirs, { nowMs: 1_000_001 }).kind).toBe("take");
    expect(aheadMs(stamp, 1_000_001)).toBe(0);
  });

  test("that is set back goes on giving later stamps", () => {
    const first = tick(zeroStamp, 5000);
    expect(tick(first, 1000)).toEqual({ ms: 5000, count: 1 });
  });

  test("of an agent that was away: what was written meanwhile is as old as it is", () => {
    const before = observed(undefined, "v1", { site: "east", nowMs: 1000, clock: zeroStamp });
    const after = observed(before.entry, "v2", { site: "east", nowMs: 90_000, clock: before.clock }, 30_000);
    expect(after.entry?.version.stamp).toEqual({ ms: 30_000, count: 0 });
  });
});

describe("versions", () => {
  const stampArbitrary = fc.record({ ms: fc.nat(5), count: fc.nat(2) });
  const versionArbitrary = fc
    .record({ east: fc.option(stampArbitrary), west: fc.option(stampArbitrary), by: fc.constantFrom("east", "west") })
    .map(({ east, west, by }): Version => {
      const own = (by === "east" ? east : west) ?? zeroStamp;
      const seen = { ...(east === null ? {} : { east }), ...(west === null ? {} : { west }), [by]: own };
      return { stamp: own, site: by, seen };
    });

  test("join in any order and any number of times to the same", () => {
    fc.assert(
      fc.property(versionArbitrary, versionArbitrary, versionArbitrary, (a, b, c) => {
        expect(join(a, join(b, c))).toEqual(join(join(a, b), c));
        expect(join(a, b).seen).toEqual(join(b, a).seen);
        expect(relate(join(a, b), join(b, a))).toBe("same");
        expect(["newer", "same"]).toContain(relate(join(a, b), a));
      }),
    );
  });

  test("travel as text, and what is none is refused", () => {
    fc.assert(
      fc.property(versionArbitrary, (version) => {
        expect(decodeVersion(JSON.parse(JSON.stringify(encodeVersion(version))))).toEqual(version);
      }),
    );
    for (const wrong of [
      undefined,
      1,
      {},
      { at: "x", by: "east", seen: {} },
      { at: "1.1", by: "east", seen: { a: 1 } },
    ]) {
      expect(decodeVersion(wrong)).toBeUndefined();
    }
    expect(parseStamp(formatStamp({ ms: 3, count: 4 }))).toEqual({ ms: 3, count: 4 });
    expect(parseStamp("1763700000000")).toBeUndefined();
  });
});
