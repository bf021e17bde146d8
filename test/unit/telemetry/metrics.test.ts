import { describe, expect, it } from "vitest";
import { Metrics } from "../../../src/telemetry/metrics.ts";

const labels = { group: "shop", site: "west", peer: "east" };

async function series(metrics: Metrics, start: string): Promise<string[]> {
  const lines = (await metrics.registry.metrics()).split("\n");
  return lines.filter((line) => line.startsWith(start));
}

describe("metrics of a group", () => {
  it("start at 0 when the group is seen, never-synced at 1, and ages are absent", async () => {
    const metrics = new Metrics();
    metrics.openGroup(labels);
    expect(await series(metrics, "lifeboat_never_synced")).toEqual([
      'lifeboat_never_synced{group="shop",site="west"} 1',
    ]);
    expect(await series(metrics, "lifeboat_stream_sent_bytes_total")).toEqual([
      'lifeboat_stream_sent_bytes_total{group="shop",site="west",peer="east"} 0',
    ]);
    expect(await series(metrics, "lifeboat_role{")).toHaveLength(4);
    expect(await series(metrics, "lifeboat_failovers_total{")).toHaveLength(4);
    expect(await series(metrics, "lifeboat_journal_lag_seconds_count")).toEqual([
      'lifeboat_journal_lag_seconds_count{group="shop",site="west",peer="east"} 0',
    ]);
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toEqual([]);
  });

  it("ages grow between scrapes while nothing is heard, and go with their probe", async () => {
    const metrics = new Metrics();
    let heardMs: number | undefined;
    let nowMs = 10_000;
    const age = () => (heardMs === undefined ? undefined : (nowMs - heardMs) / 1000);
    const probe = metrics.probe("journalAge", labels, age);
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toEqual([]);
    heardMs = 9000;
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toEqual([
      'lifeboat_journal_age_seconds{group="shop",site="west",peer="east"} 1',
    ]);
    nowMs += 5000;
    expect((await series(metrics, "lifeboat_journal_age_seconds{"))[0]).toMatch(/ 6$/);
    heardMs = undefined;
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toEqual([]);
    heardMs = 9000;
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toHaveLength(1);
    probe[Symbol.dispose]();
    expect(await series(metrics, "lifeboat_journal_age_seconds{")).toEqual([]);
  });

  it("all go when the group is removed, and those of other groups stay", async () => {
    const metrics = new Metrics();
    metrics.openGroup(labels);
    metrics.openGroup({ ...labels, group: "bank" });
    metrics.observe("failoverPhase", { group: "shop", site: "west", phase: "unforeseen" }, 1);
    metrics.probe("applyAge", labels, () => 1);
    expect(await series(metrics, "lifeboat_apply_age_seconds{")).toHaveLength(1);
    await metrics.closeGroup("shop");
    const lines = (await metrics.registry.metrics()).split("\n");
    expect(lines.filter((line) => line.includes('group="shop"'))).toEqual([]);
    expect(lines.filter((line) => line.includes('group="bank"')).length).toBeGreaterThan(40);
  });

  it("count, set and observe, and refuse what the table says they are not", async () => {
    const metrics = new Metrics();
    const witness = { site: "west", peer: "witness" };
    metrics.add("reconnects", witness);
    metrics.add("reconnects", witness, 2);
    metrics.set("connected", witness, 1);
    metrics.observe("journalLag", labels, 0.03);
    expect(await series(metrics, "lifeboat_reconnects_total")).toEqual([
      'lifeboat_reconnects_total{site="west",peer="witness"} 3',
    ]);
    expect(await series(metrics, 'lifeboat_journal_lag_seconds_bucket{le="0.05"')).toEqual([
      'lifeboat_journal_lag_seconds_bucket{le="0.05",group="shop",site="west",peer="east"} 1',
    ]);
    expect(() => metrics.set("reconnects", witness, 1)).toThrow(TypeError);
    expect(() => metrics.add("connected", {})).toThrow(TypeError);
    expect(() => metrics.observe("connected", witness, 1)).toThrow(TypeError);
  });

  it("show how late the timers of the process are", async () => {
    const metrics = new Metrics();
    using _process = metrics.watchProcess();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const blockedUntilMs = performance.now() + 150;
    while (performance.now() < blockedUntilMs);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const [line] = await series(metrics, "lifeboat_event_loop_lag_seconds");
    expect(Number(line?.split(" ")[1])).toBeGreaterThan(0.1);
    expect(await series(metrics, "process_resident_memory_bytes")).toHaveLength(1);
  });
});
