import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ranHere, writeOrigin } from "../../../src/agent/origin.ts";
import { StandbyFreshness } from "../../../src/agent/standby-data.ts";
import type { Clock } from "../../../src/clock.ts";
import { emptyRecord } from "../../../src/failover/agent-state.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import { GroupRecords } from "../../../src/failover/runner/records.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { StateFile } from "../../../src/journal/state.ts";

const { signal } = new AbortController();
let folder: string;
let journal: Journal;
let monotonicMs = 5000;
let wallMs = 1_700_000_000_000;
const clock: Clock = { monotonicMs: () => monotonicMs, wallMs: () => wallMs, sleep: async () => undefined };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lifeboat-standby-"));
  journal = Journal.open({ path: join(folder, "g.db"), group: "g" });
});
afterEach(() => {
  journal.close();
  rmSync(folder, { recursive: true });
});

async function catchUp(epoch: string, ring = "r", complete = true): Promise<void> {
  await journal.commit({ epoch, position: { ring, seq: 3 }, records: [], complete }, { signal });
}

describe("a standby that is started again", () => {
  it("knows when it last had everything, and of whom", async () => {
    await catchUp("7.1");
    new StandbyFreshness(journal, clock).observe({ kind: "heard", head: 3 });
    monotonicMs = 10;
    wallMs += 40_000;
    const freshness = new StandbyFreshness(journal, clock);
    expect(freshness.keptFor("7.1")).toEqual({
      readiness: "Ready",
      lagMs: 0,
      recoveryPoint: "r/3",
      contactAgoMs: 40_000,
    });
    expect(freshness.ageMs()).toBe(40_000);
    expect(freshness.keptFor("7.2"), "another source").toBeUndefined();
  });

  it("knows a source that has just begun to serve under another epoch", async () => {
    await catchUp("0.0");
    const first = new StandbyFreshness(journal, clock);
    first.observe({ kind: "heard", head: 3 });
    await catchUp("7.1");
    monotonicMs += 100;
    first.observe({ kind: "heard", head: 3 });
    expect(new StandbyFreshness(journal, clock).keptFor("7.1")).toBeDefined();
  });

  it("does not claim to be good where it was behind, in a comparison, or where the clock was set back", async () => {
    await catchUp("7.1");
    const first = new StandbyFreshness(journal, clock);
    first.observe({ kind: "heard", head: 9 });
    expect(new StandbyFreshness(journal, clock).keptFor("7.1"), "never caught up").toBeUndefined();
    first.observe({ kind: "welcome", ring: "r", epoch: "7.1", resumed: true });
    first.observe({ kind: "heard", head: 3 });
    wallMs -= 60_000;
    expect(new StandbyFreshness(journal, clock).keptFor("7.1"), "clock set back").toBeUndefined();
    wallMs += 60_000;
    expect(new StandbyFreshness(journal, clock).keptFor("7.1")).toBeDefined();
    await catchUp("7.1", "another", false);
    expect(new StandbyFreshness(journal, clock).keptFor("7.1"), "a source that restarted").toBeUndefined();
  });
});

describe("a site whose journal was lost", () => {
  const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 1, forcedBy: "" }, holder: "east", sig: "" };

  it("takes what it ran for its own by its failover record", async () => {
    using records = disposable(StateFile.open({ path: join(folder, "agent.db") }));
    const store = new GroupRecords(records.file, "g");
    expect(ranHere(journal, records.file, "east"), "never granted").toBe(false);
    await store.claim({ ...emptyRecord, incarnation: 1, cert });
    expect(ranHere(journal, records.file, "east"), "holder").toBe(true);
    expect(ranHere(journal, records.file, "west"), "standby").toBe(false);
    await store.write({ ...emptyRecord, incarnation: 1, cert, divergence: { cert, saved: false } });
    expect(ranHere(journal, records.file, "west"), "former holder").toBe(true);
    await store.write({ ...emptyRecord, incarnation: 1, cert, divergence: { cert, saved: true } });
    expect(ranHere(journal, records.file, "west"), "taken down and saved before").toBe(false);
    await writeOrigin(journal, "copy");
    expect(ranHere(journal, records.file, "east"), "the journal is there").toBe(false);
  });
});

function disposable(file: StateFile): Disposable & { readonly file: StateFile } {
  return { file, [Symbol.dispose]: () => file.close() };
}
