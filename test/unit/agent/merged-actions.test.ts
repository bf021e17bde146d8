import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ActionHost } from "../../../src/agent/group-actions.ts";
import { MergedActions } from "../../../src/agent/merged-actions.ts";
import { type Origin, readOrigin, writeOrigin } from "../../../src/agent/origin.ts";
import type { Applier } from "../../../src/apply/applier.ts";
import type { DemoteOptions, LocalObject } from "../../../src/apply/demotion.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import type { StartKind } from "../../../src/failover/runner/actions.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { marks } from "../../../src/objects/object.ts";

/** What a site does for the protocol where both run the group: only what is single is started and stopped. */

const { signal } = new AbortController();
const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 1, forcedBy: "" }, holder: "west", sig: "" };
const leader = "apps/Deployment/shop/leader";
const web = "apps/Deployment/shop/web";
const version = { at: "1.0", by: "east", seen: { east: "1.0" } };
const record = (key: string, content: string): LocalObject => ({
  key,
  object: JSON.stringify({ metadata: { annotations: { [marks.version]: JSON.stringify({ ...version, content }) } } }),
  managers: "[]",
});

let folder: string;
let journal: Journal;
let calls: string[];
let mayStart: boolean | undefined;
let singlesText: string;
let isMirror: boolean;
let actions: MergedActions;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lifeboat-merged-"));
  journal = Journal.open({ path: join(folder, "g.db"), group: "g" });
  calls = [];
  mayStart = undefined;
  singlesText = "leader 1.0 east";
  isMirror = false;
  const did = (name: string): void => {
    calls.push(`${name} (${readOrigin(journal)})`);
  };
  const applier = {
    demote: async ({ local }: DemoteOptions) => {
      did(`demote ${[...local].map(({ key }) => key).join()}`);
      await journal.saveDivergence([{ key: leader, what: "unknown", object: "{}" }]);
      return { stopped: [leader], failed: [], uids: [], stoppedMs: 1 };
    },
    release: async () => {
      did("release");
      return { released: [], failed: [] };
    },
    promote: async () => did("promote"),
    activate: async () => did("activate"),
    follow: () => did("follow"),
  } as unknown as Applier;
  const refuse = (name: string) => async (): Promise<never> => {
    throw new Error(`${name} must not be called`);
  };
  const host: ActionHost = {
    journal,
    applier,
    group: undefined,
    openGate: async () => did("open gate"),
    closeGate: async () => did("close gate"),
    allowUnguarded: () => undefined,
    serve: refuse("serve"),
    stopServing: refuse("stopServing"),
    hasStandby: () => true,
    stopCapture: refuse("stopCapture"),
    pull: () => {
      throw new Error("pull must not be called");
    },
    stopPulling: refuse("stopPulling"),
    finalDigest: refuse("finalDigest"),
    unseal: refuse("unseal"),
    receivedCanary: () => undefined,
    whenCurrent: async () => did("when current"),
    outcome: () => undefined,
    notice: () => undefined,
    stopped: () => undefined,
    unreadKinds: () => [],
    keepDown: () => did("keep down"),
    stopKeeping: async () => undefined,
    started: (_goal, { rpoMs }) => did(`started ${String(rpoMs)}`),
    standbyAgeMs: () => 700,
    localObjects: async () => [record(leader, "c"), record(web, "c"), record("apps/Deployment/shop/gone", "")],
    showObject: async (as) => did(`show ${as}`),
    nowMs: () => 0,
  };
  actions = new MergedActions(host, {
    isSingle: (key) => key !== web,
    settle: async () => did("settle"),
    failing: () => [],
    singlesText: () => singlesText,
    begin: () => did("begin"),
    settleCapture: async () => did("settle capture"),
    beginSurge: async () => did("surge"),
    setMayStart: (value) => (mayStart = value),
    isMirror: () => isMirror,
  });
});
afterEach(() => {
  journal.close();
  rmSync(folder, { recursive: true });
});

async function startAs(origin: Origin, kind: StartKind): Promise<void> {
  await writeOrigin(journal, origin);
  await actions.startRunning({ cert, kind }, { signal });
}

test("a takeover opens the gate, shows the original, carries both loads, and starts what is single after that", async () => {
  isMirror = true;
  await startAs("copy", "takeover");
  expect(calls).toEqual([
    "open gate (copy)",
    "surge (own)",
    "show original (own)",
    "begin (own)",
    "activate (own)",
    "settle (own)",
    "begin (own)",
    "started 700 (own)",
  ]);
  expect(mayStart).toBe(true);
});

test("a switchover brings no surge, and what this site itself took down is released", async () => {
  await startAs("held", "commit");
  expect(calls).toContain("release (own)");
  expect(calls.some((call) => call.startsWith("surge"))).toBe(false);
});

test("a stop takes down what is single, and nothing else; streams go on", async () => {
  await writeOrigin(journal, "own");
  await actions.stopRunning({ reason: "the lease is over" }, { signal });
  expect(mayStart).toBe(false);
  expect(calls).toEqual(["close gate (own)", `demote ${leader} (held)`, "keep down (held)"]);
});

test("whoever follows forgets what the stop had kept: nothing of it is overwritten", async () => {
  await writeOrigin(journal, "own");
  await actions.stopRunning({ reason: "" }, { signal });
  expect(journal.divergentKeys()).toHaveLength(1);
  await actions.saveDivergence({ cert }, { signal });
  await actions.followPeer({ cert }, { signal });
  expect(journal.divergentKeys()).toEqual([]);
  expect(readOrigin(journal)).toBe("copy");
  expect(calls.slice(-3)).toEqual(["follow (copy)", "begin (copy)", "settle (copy)"]);
});

test("a seal is of what is single, and applied when the same is here", async () => {
  const content = await actions.prepareSeal({ opId: "1" }, { signal });
  const seal = { opId: "1", cert, ...content } as unknown as Parameters<MergedActions["applySeal"]>[0]["seal"];
  singlesText = "leader 2.0 west";
  await expect(actions.applySeal({ seal }, { signal })).rejects.toThrow("not yet what the seal says");
  singlesText = "leader 1.0 east";
  await expect(actions.applySeal({ seal }, { signal })).resolves.toEqual({
    objectsHash: content.objectsHash,
    volumes: {},
  });
});

test("a switchover that is called off starts again what it had stopped", async () => {
  await writeOrigin(journal, "own");
  await actions.quiesce({ opId: "1" }, { signal });
  expect(mayStart).toBe(false);
  await actions.unquiesce({ opId: "1", reason: "" }, { signal });
  expect(mayStart).toBe(true);
  expect(calls.slice(-3)).toEqual(["open gate (held)", "release (own)", "settle (own)"]);
  expect(readOrigin(journal)).toBe("own");
});
