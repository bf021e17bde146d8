import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/clock.ts";
import { refreshScript } from "../../../src/guard/nft.ts";
import { Traffic, type RunNft } from "../../../src/guard/traffic.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

/** A kernel that takes everything, unless it is told otherwise. */
function fixture() {
  let nowMs = 1000;
  const scripts: string[] = [];
  let failure: Error | undefined;
  let tookMs = 0;
  const nft: RunNft = async (script) => {
    nowMs += tookMs;
    if (failure !== undefined) throw failure;
    scripts.push(script);
  };
  const clock: Clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => {} };
  const traffic = new Traffic({ clock, log: silentLog, nft });
  return {
    traffic,
    /** What nft was given since this was last asked, but for the rules themselves. */
    taken: () => scripts.splice(0).filter((script) => !script.includes("add table")),
    pass: (ms: number) => (nowMs += ms),
    get nowMs() {
      return nowMs;
    },
    fail: (error: Error | undefined) => (failure = error),
    slow: (ms: number) => (tookMs = ms),
  };
}

type Fixture = ReturnType<typeof fixture>;

async function wanting({ traffic }: Fixture, ends: Readonly<Record<string, number>>): Promise<void> {
  traffic.want(new Map(Object.entries(ends)));
  await traffic.settled();
}

async function ready(): Promise<Fixture> {
  const given = fixture();
  await given.traffic.setup();
  given.taken();
  return given;
}

describe("the text for nft", () => {
  it("replaces both sets of each family in one transaction, with an end for each address that may talk", () => {
    const gated = new Map([
      ["10.0.0.1", 1500.7],
      ["10.0.0.2", 0],
      ["fd00::1", 20],
    ]);
    expect(refreshScript("inet", gated).split("\n")).toEqual([
      "flush set inet lifeboat_guard gated4",
      "flush set inet lifeboat_guard alive4",
      "add element inet lifeboat_guard gated4 { 10.0.0.1, 10.0.0.2 }",
      "add element inet lifeboat_guard alive4 { 10.0.0.1 timeout 1500ms }",
      "flush set inet lifeboat_guard gated6",
      "flush set inet lifeboat_guard alive6",
      "add element inet lifeboat_guard gated6 { fd00::1 }",
      "add element inet lifeboat_guard alive6 { fd00::1 timeout 20ms }",
      "",
    ]);
  });
});

describe("the kernel is told", () => {
  it("of a new address at once, with an end that is not after the lease's", async () => {
    const given = await ready();
    await wanting(given, { "10.0.0.1": given.nowMs + 5000 });
    const [script = ""] = given.taken();
    const [, ms] = /10\.0\.0\.1 timeout (\d+)ms/.exec(script) ?? [];
    expect(Number(ms)).toBeLessThan(5000);
    expect(Number(ms)).toBeGreaterThan(4500);
  });

  it("of a later end only when it is later by a good part of what is left", async () => {
    const given = await ready();
    const end = given.nowMs + 5000;
    await wanting(given, { "10.0.0.1": end });
    given.taken();
    await wanting(given, { "10.0.0.1": end + 500 });
    expect(given.taken()).toEqual([]);
    given.pass(2000);
    await wanting(given, { "10.0.0.1": end + 2000 });
    expect(given.taken()).toHaveLength(1);
  });

  it("of an earlier end and of a cut at once", async () => {
    const given = await ready();
    const end = given.nowMs + 5000;
    await wanting(given, { "10.0.0.1": end, "10.0.0.2": end });
    given.taken();
    await wanting(given, { "10.0.0.1": end - 100, "10.0.0.2": end });
    expect(given.taken()).toHaveLength(1);
    await wanting(given, { "10.0.0.1": end - 100, "10.0.0.2": 0 });
    expect(given.taken()[0]).toMatch(/gated4 \{ 10.0.0.1, 10.0.0.2 \}\nadd element \S+ \S+ alive4 \{ 10.0.0.1 timeout/);
  });

  it("again where it took long: the kernel has counted from too late", async () => {
    const given = await ready();
    given.slow(400);
    await wanting(given, { "10.0.0.1": given.nowMs + 5000 });
    expect(given.taken().length).toBeGreaterThanOrEqual(2);
    given.slow(0);
  });

  it("everything anew after somebody has removed the rules", async () => {
    const given = await ready();
    const end = given.nowMs + 5000;
    await wanting(given, { "10.0.0.1": end });
    given.taken();
    given.fail(new Error("No such file or directory"));
    await wanting(given, { "10.0.0.1": 0 });
    expect(given.traffic.works).toBe(false);
    given.fail(undefined);
    given.pass(1000);
    await wanting(given, { "10.0.0.1": 0 });
    expect(given.traffic.works).toBe(true);
    expect(given.taken()).toHaveLength(1);
  });
});

it("without nft there is no dead-man, and it is said", async () => {
  const given = fixture();
  given.fail(new Error("nft is not installed"));
  await given.traffic.setup();
  expect(given.traffic.works).toBe(false);
  expect(given.traffic.problem?.message).toContain("nft is not installed");
});
