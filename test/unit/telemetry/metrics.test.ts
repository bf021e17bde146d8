import { describe, expect, it } from "vitest";
import { Metrics } from "../../../src/telemetry/registry.ts";

const labels = { group: "shop", peer: "east" };

async function series(metrics: Metrics, start: string): Promise<string[]> {
  const lines = (await metrics.registry.metrics()).split("\n");
  return lines.filter((line) => line.startsWith(start));
}

describe("metrics of a group", () => {
  it("start at 0 when the group is seen, never-synced at 1, and ages are absent", async () => {
    const metrics = new Metrics({ site: "west" });
    metrics.openGroup(labels);
    expect(await series(metrics, "lifeboat_never_synced")).toEqual([
      'lifeboat_never_synced{group="shop",site="west"} 1',
    ]);
    expect(await series(metrics, "lifeboat_stream_sent_bytes_total")).toEqual([
      'lifeboat_stream_sent_bytes_total{group="shop",site="west"} 0',
    ]);
    expect(await series(metrics, "lifeboat_role{")).toHaveLength(3);
    expect(await series(metrics, "lifeboat_failovers_total{")).toHaveLength(4);
    expect(await series(metrics, "lifeboat_journal_lag_seconds_count")).toEqual([
      'lifeboat_journal_lag_seconds_count{site="west",group="shop"} 0',
    ]);
    expect(await series(metrics, "lifeboat_age_seconds{")).toEqual([]);
  });

  it("ages grow between scrapes while nothing is heard, and go with their probe", async () => {
    const metrics = new Metrics({ site: "west" });
    let heardMs: number | undefined;
    let nowMs = 10_000;
    const age = () => (heardMs === undefined ? undefined : (nowMs - heardMs) / 1000);
    const probe = metrics.probe("lifeboat_age_seconds", { group: "shop" }, age);
    expect(await series(metrics, "lifeboat_age_seconds{")).toEqual([]);
    heardMs = 9000;
    expect(await series(metrics, "lifeboat_age_seconds{")).toEqual([
      'lifeboat_age_seconds{group="shop",site="west"} 1',
    ]);
    nowMs += 5000;
    expect((await series(metrics, "lifeboat_age_seconds{"))[0]).toMatch(/ 6$/);
    heardMs = undefined;
    expect(await series(metrics, "lifeboat_age_seconds{")).toEqual([]);
    heardMs = 9000;
    expect(await series(metrics, "lifeboat_age_seconds{")).toHaveLength(1);
    probe[Symbol.dispose]();
    expect(await series(metrics, "lifeboat_age_seconds{")).toEqual([]);
  });

  it("all go when the group is removed, and those of other groups stay", async () => {
    const metrics = new Metrics({ site: "west" });
    metrics.openGroup(labels);
    metrics.openGroup({ ...labels, group: "bank" });
    metrics.observe("lifeboat_failover_phase_seconds", { group: "shop", phase: "unforeseen" }, 1);
    metrics.probe("lifeboat_apply_age_seconds", { group: "shop" }, () => 1);
    expect(await series(metrics, "lifeboat_apply_age_seconds{")).toHaveLength(1);
    await metrics.closeGroup("shop");
    const lines = (await metrics.registry.metrics()).split("\n");
    expect(lines.filter((line) => line.includes('group="shop"'))).toEqual([]);
    expect(lines.filter((line) => line.includes('group="bank"')).length).toBeGreaterThan(40);
  });

  it("count, set and observe", async () => {
    const metrics = new Metrics({ site: "west" });
    metrics.add("lifeboat_reconnects_total", { peer: "east" });
    metrics.add("lifeboat_reconnects_total", { peer: "east" }, 2);
    metrics.set("lifeboat_armed", { group: "shop" }, 1);
    metrics.observe("lifeboat_journal_lag_seconds", { group: "shop" }, 0.03);
    expect(await series(metrics, "lifeboat_reconnects_total")).toEqual([
      'lifeboat_reconnects_total{peer="east",site="west"} 3',
    ]);
    expect(await series(metrics, "lifeboat_armed{")).toEqual(['lifeboat_armed{group="shop",site="west"} 1']);
    expect(await series(metrics, 'lifeboat_journal_lag_seconds_bucket{le="0.05"')).toEqual([
      'lifeboat_journal_lag_seconds_bucket{le="0.05",site="west",group="shop"} 1',
    ]);
  });
});
