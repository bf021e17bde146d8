import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/clock.ts";
import { emptyRecord, type SiteRecord } from "../../../src/failover/agent-state.ts";
import type { PeerMessage, ToWitness } from "../../../src/failover/messages.ts";
import { claimIncarnation, GroupRecords, type DurableRecords } from "../../../src/failover/runner/records.ts";
import { decodeFromWitness, decodePeerMessage, decodeToWitness } from "../../../src/failover/runner/schema.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { ManualClock } from "./manual-clock.ts";

const cert = { epoch: { generation: 7, nonce: "n", counter: 3, forcedBy: "" }, holder: "east", sig: "" };
const full: SiteRecord = {
  ...emptyRecord,
  incarnation: 5,
  cert,
  disarm: { by: "peer" },
  veto: { incarnation: 4 },
  promiseMsMax: 24_600.5,
  seal: { opId: "op", cert, objectsRevision: "9", objectsHash: "h", volumes: { data: { generation: 3, hash: "x" } } },
  voided: ["a"],
  usedNonces: ["b", "c"],
  paused: true,
  divergence: { cert, saved: false },
};

function stateFile(): { readonly path: string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-records-"));
  return { path: join(folder, "agent.db"), [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

describe("a site's durable record of a group", () => {
  it("comes back whole after a restart", async () => {
    using file = stateFile();
    const records = StateFile.open(file);
    expect(new GroupRecords(records, "shop").read()).toEqual(emptyRecord);
    await new GroupRecords(records, "shop").write(full);
    records.close();
    const again = StateFile.open(file);
    expect(new GroupRecords(again, "shop").read()).toEqual(full);
    expect(new GroupRecords(again, "bank").read()).toEqual(emptyRecord);
    again.close();
  });

  it("is not overwritten by a former leader of the site", async () => {
    using file = stateFile();
    const records = StateFile.open(file);
    const group = new GroupRecords(records, "shop");
    await group.claim(full);
    await expect(group.claim({ ...full, paused: false })).rejects.toMatchObject({ code: "FailoverRefused" });
    await group.claim({ ...full, incarnation: 6 });
    await expect(group.write(full)).rejects.toMatchObject({ code: "FailoverRefused" });
    await group.write({ ...full, incarnation: 6, paused: false });
    expect(group.read()).toMatchObject({ incarnation: 6, paused: false });
    records.close();
  });

  it("that is damaged is an error, rather than a group that was never granted", () => {
    const records: DurableRecords = {
      getState: () => ({ ...full, promiseMsMax: "soon" }),
      putState: async () => {},
    };
    expect(() => new GroupRecords(records, "shop").read()).toThrow(expect.objectContaining({ code: "JournalCorrupt" }));
  });

  it("proves a mere restart only to the holder, and only within the same boot", async () => {
    using file = stateFile();
    const records = StateFile.open(file);
    const group = new GroupRecords(records, "shop");
    await group.write(full);
    expect(group.ranInBoot("east", ["boot-0", "boot-1"])).toBe(false);
    await group.writeRunning(["boot-1", "boot-3"]);
    expect(group.ranInBoot("east", ["boot-0", "boot-1"])).toBe(true);
    expect(group.ranInBoot("west", ["boot-1"])).toBe(false);
    expect(group.ranInBoot("east", ["boot-2"])).toBe(false);
    await group.writeRunning(null);
    expect(group.ranInBoot("east", ["boot-0", "boot-1"])).toBe(false);
    records.close();
  });
});

describe("an incarnation", () => {
  it("grows with every start, also when the clock goes back or the file is lost", async () => {
    using file = stateFile();
    const records = StateFile.open(file);
    const clock = new ManualClock();
    const first = await claimIncarnation(records, clock);
    expect(await claimIncarnation(records, clock)).toBe(first + 1);
    const setBack: Clock = {
      monotonicMs: () => 0,
      wallMs: () => 0,
      sleep: (ms, options) => clock.sleep(ms, options),
    };
    expect(await claimIncarnation(records, setBack)).toBe(first + 2);
    records.close();
    using lost = stateFile();
    const fresh = StateFile.open(lost);
    clock.freeze(10_000);
    expect(await claimIncarnation(fresh, clock)).toBeGreaterThan(first + 2);
    fresh.close();
  });
});

describe("what comes over the wire", () => {
  it("is refused unless it is a message, and never anything but a LifeboatError", () => {
    const anything = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((text) => `{"type":"Renew","group":${text}}`),
    );
    fc.assert(
      fc.property(anything, (text) => {
        for (const decode of [decodeToWitness, decodeFromWitness, decodePeerMessage]) {
          expect(() => decode(text)).toThrow(expect.objectContaining({ code: "ConfigInvalid" }));
        }
      }),
    );
  });

  it("keeps every field that the protocol knows, and drops the others", () => {
    const release: ToWitness = { type: "Release", group: "shop", site: "east", incarnation: 1, seq: 2, cert };
    expect(decodeToWitness(JSON.stringify({ ...release, extra: 1 }))).toEqual(release);
    const ask: PeerMessage = { type: "SwitchAsk", group: "shop", opId: "op", to: "west", cert };
    expect(decodePeerMessage(JSON.stringify(ask))).toEqual(ask);
  });

  it("is refused with numbers that are no counters", () => {
    const release = { type: "Release", group: "shop", site: "east", incarnation: 1, seq: 2, cert };
    for (const seq of [-1, 1.5, 2 ** 60, "2", null]) {
      expect(() => decodeToWitness(JSON.stringify({ ...release, seq }))).toThrow(/seq/);
    }
  });
});
