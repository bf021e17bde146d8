import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Clock } from "../../../src/clock.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import type { GuardRecord } from "../../../src/failover/guard.ts";
import type { GuardAnswer, GuardPoll } from "../../../src/failover/messages.ts";
import { profiles } from "../../../src/failover/timing.ts";
import { GuardDisk } from "../../../src/guard/disk.ts";
import { GuardGroups } from "../../../src/guard/guard-groups.ts";
import type { ListProof } from "../../../src/rpc/guard-messages.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

let root: string;
let nowMs = 0;
const clock: Clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => {} };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "lifeboat-guard-"));
  nowMs = 100_000;
});

afterEach(() => rm(root, { recursive: true }));

function disk(): GuardDisk {
  return new GuardDisk({ dataDir: join(root, "data"), runDir: join(root, "run"), log: silentLog });
}

/** A guard's process; `boot` ones come after the node has lost what does not survive a boot. */
function start(): GuardGroups {
  return new GuardGroups({ node: "n1", disk: disk(), clock, log: silentLog, onTurn: () => {} });
}

async function boot(): Promise<GuardGroups> {
  await rm(join(root, "run"), { recursive: true, force: true });
  return start();
}

const shop = { name: "shop", namespaces: ["shop"], timing: profiles.test };

function cert(counter: number, holder = "east"): Cert {
  return { epoch: { generation: 1, nonce: "n", counter, forcedBy: "" }, holder, sig: "" };
}

function lastPoll(groups: GuardGroups): GuardPoll {
  nowMs += 600;
  groups.tick();
  const poll = groups.takePolls().at(-1);
  if (poll === undefined) throw new Error("it did not poll");
  return poll;
}

function tell(groups: GuardGroups, verdict: GuardAnswer["verdict"], by: Cert | null, incarnation = 1): void {
  const { group, node, bootId, seq } = lastPoll(groups);
  nowMs += 5;
  groups.answer({
    type: "GuardAnswer",
    group,
    node,
    bootId,
    seq,
    verdict,
    cert: by,
    incarnation,
    remainingMs: verdict === "hold" ? 5000 : 0,
    agentNowMs: nowMs + 7,
    leaseSentAtMs: nowMs,
    reason: "told so",
  });
}

function granted(): GuardGroups {
  const groups = start();
  groups.hear([shop]);
  tell(groups, "open", null);
  tell(groups, "hold", cert(3));
  return groups;
}

const modes = (groups: GuardGroups) => groups.states.map(({ mode }) => mode);
const namespaces = (groups: GuardGroups) => groups.states[0]?.record.namespaces;

describe("a guard's groups", () => {
  it("gate nothing when they are first heard of", () => {
    const groups = start();
    groups.hear([shop]);
    expect(modes(groups)).toEqual(["open"]);
  });

  it("go on where they were when only the guard's process was restarted", () => {
    granted();
    expect(modes(start())).toEqual(["leased"]);
  });

  it("are fenced after a boot, and after a lease has run out unseen", async () => {
    granted();
    expect(modes(await boot())).toEqual(["fenced"]);
    tell(await boot(), "hold", cert(4));
    nowMs += 20_000;
    const late = start();
    late.tick();
    expect(modes(late)).toEqual(["fenced"]);
  });

  it("take no older epoch and no older agent, also after a boot", async () => {
    granted();
    const groups = await boot();
    tell(groups, "hold", cert(2), 2);
    expect(modes(groups)).toEqual(["fenced"]);
    tell(groups, "hold", cert(4), 1);
    expect(modes(groups)).toEqual(["fenced"]);
    tell(groups, "hold", cert(4), 2);
    expect(modes(groups)).toEqual(["leased"]);
  });

  it("lose a namespace only while the site runs them and has said so for a while", async () => {
    const groups = granted();
    groups.hear([{ ...shop, namespaces: ["shop", "bank"] }]);
    expect(namespaces(groups)).toEqual(["bank", "shop"]);
    groups.hear([{ ...shop, namespaces: ["bank"] }]);
    expect(namespaces(groups)).toEqual(["bank", "shop"]);
    nowMs += 61_000;
    groups.hear([{ ...shop, namespaces: ["bank"] }]);
    expect(namespaces(groups)).toEqual(["bank"]);
    tell(groups, "deny", cert(9, "west"));
    groups.hear([{ ...shop, namespaces: [] }]);
    nowMs += 61_000;
    groups.hear([{ ...shop, namespaces: [] }]);
    expect(namespaces(groups)).toEqual(["bank"]);
    expect(namespaces(await boot())).toEqual(["bank"]);
  });

  describe("that are kept down lose a namespace", () => {
    const bank = (complete?: ListProof) => [{ ...shop, namespaces: ["bank"], complete }];

    /** Fenced under the other site's certificate, by an agent of incarnation 5. */
    function fenced(): GuardGroups {
      const groups = granted();
      groups.hear([{ ...shop, namespaces: ["shop", "bank"] }]);
      tell(groups, "deny", cert(9, "west"), 5);
      expect(modes(groups)).toEqual(["fenced"]);
      return groups;
    }

    it.each([
      ["under the present epoch", { cert: cert(9, "west"), incarnation: 5 }],
      ["under a later one, by a later agent", { cert: cert(10, "west"), incarnation: 6 }],
    ])("by the proof of an agent that has been following for a while %s, for good", async (_when, proof) => {
      const groups = fenced();
      groups.hear(bank(proof));
      nowMs += 59_000;
      groups.hear(bank(proof));
      expect(namespaces(groups)).toEqual(["bank", "shop"]);
      nowMs += 2000;
      groups.hear(bank(proof));
      expect(namespaces(groups)).toEqual(["bank"]);
      expect(modes(groups)).toEqual(["fenced"]);
      expect(namespaces(await boot())).toEqual(["bank"]);
    });

    it.each([
      ["the word of an agent that does not know them all", undefined],
      ["what was so under an older epoch", { cert: cert(8, "west"), incarnation: 6 }],
      ["the word of an agent that has been followed by another", { cert: cert(9, "west"), incarnation: 4 }],
    ])("never by %s", (_what, proof) => {
      const groups = fenced();
      for (let second = 0; second < 180; second += 30) {
        groups.hear(bank(proof));
        nowMs += 30_000;
      }
      expect(namespaces(groups)).toEqual(["bank", "shop"]);
    });

    it("not where the agent forgot in between what it had known", () => {
      const groups = fenced();
      const proof = { cert: cert(9, "west"), incarnation: 5 };
      groups.hear(bank(proof));
      nowMs += 40_000;
      groups.hear(bank());
      nowMs += 40_000;
      groups.hear(bank(proof));
      expect(namespaces(groups)).toEqual(["bank", "shop"]);
    });
  });

  it("stay when the agent does not name them any more: it may have been set back in time", () => {
    const groups = granted();
    groups.hear([]);
    expect(modes(groups)).toEqual(["leased"]);
  });

  it("go when they have ended in order, by either word, and a boot waits for nothing", async () => {
    const groups = granted();
    groups.release("shop");
    expect(groups.states).toEqual([]);
    expect((await boot()).states).toEqual([]);
    const again = granted();
    tell(again, "released", cert(3));
    again.hear([]);
    expect(again.states).toEqual([]);
    expect((await boot()).states).toEqual([]);
  });

  it("take new durations, and report what a stop took", () => {
    const groups = granted();
    groups.hear([{ ...shop, timing: { ...profiles.test, tickMs: 200 } }]);
    expect(groups.states[0]?.timing.tickMs).toBe(200);
    tell(groups, "deny", cert(3));
    nowMs += 70;
    groups.allDead("shop");
    expect(lastPoll(groups).stopMs).toBe(70);
  });
});

describe("while the disk is full", () => {
  const full = () => mkdir(join(root, "data/groups/shop.json.new"));
  const hasRoom = () => rm(join(root, "data/groups/shop.json.new"), { recursive: true });
  const stored = async () => JSON.parse(await readFile(join(root, "data/groups/shop.json"), "utf8")) as GuardRecord;

  it("what runs goes on by the word of a later agent, and is written down when there is room", async () => {
    const groups = granted();
    await full();
    for (let second = 0; second < 60; second++) tell(groups, "hold", cert(3), 2);
    expect(groups.states[0]).toMatchObject({ mode: "leased", record: { incarnation: 2 } });
    // The next process of this boot listens to no former agent either.
    const next = start();
    tell(next, "deny", cert(3), 1);
    expect(next.states[0]).toMatchObject({ mode: "leased", record: { incarnation: 2 } });
    await hasRoom();
    nowMs += 6000;
    groups.tick();
    expect(await stored()).toMatchObject({ incarnation: 2 });
  });

  it("a further namespace of the group counts all the same", async () => {
    const groups = granted();
    await full();
    groups.hear([{ ...shop, namespaces: ["shop", "bank"] }]);
    expect(namespaces(groups)).toEqual(["bank", "shop"]);
    expect(namespaces(start())).toEqual(["bank", "shop"]);
  });

  it("nothing is opened, and nothing goes on under another epoch", async () => {
    const groups = granted();
    await full();
    expect(() => tell(groups, "hold", cert(4))).toThrow("EISDIR");
    expect(groups.states[0]?.record.cert).toEqual(cert(3));
    tell(groups, "deny", cert(3));
    expect(modes(groups)).toEqual(["fenced"]);
    expect(() => tell(groups, "hold", cert(3), 2)).toThrow("EISDIR");
    expect(modes(groups)).toEqual(["fenced"]);
  });
});

describe("the guard's disk", () => {
  it("that holds half a record keeps the guard from starting, and so the kubelet", async () => {
    granted();
    await writeFile(join(root, "data/groups/shop.json"), '{"group":"sh');
    await expect(boot()).rejects.toMatchObject({
      code: "JournalCorrupt",
      message: expect.stringContaining("shop.json"),
    });
  });

  it("that holds half a saved state is as after a boot", async () => {
    granted();
    await writeFile(join(root, "run/groups/shop.json"), "{");
    expect(modes(start())).toEqual(["fenced"]);
  });

  it("that cannot be written is said", async () => {
    await writeFile(join(root, "data"), "");
    expect(() => disk()).toThrow(/cannot write/);
  });
});
