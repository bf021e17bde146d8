import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type ActionHost, SiteActions } from "../../../src/agent/group-actions.ts";
import type { LateObject } from "../../../src/agent/late.ts";
import { type Origin, readOrigin, writeOrigin } from "../../../src/agent/origin.ts";
import type { Applier } from "../../../src/apply/applier.ts";
import type { PromoteOptions } from "../../../src/apply/promotion.ts";
import type { Failure } from "../../../src/apply/failures.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import { Journal } from "../../../src/journal/journal.ts";

/** What a site does for the protocol, in its order: the roles of its objects are durable, the rest is written down. */

const { signal } = new AbortController();
const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 1, forcedBy: "" }, holder: "west", sig: "" };
const web = "apps/Deployment/shop/web";
const refused: Failure = { reason: "WebhookRefused", message: "a policy says no" };

class Site implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "lifeboat-actions-"));
  readonly journal: Journal;
  readonly actions: SiteActions;
  /** Calls in their order, each with what the objects were at that moment. */
  readonly calls: string[] = [];
  readonly notices: string[] = [];
  rpoMs: number | undefined;
  /** What the next promotion leaves behind, and what the runtime was told of it. */
  notReady: { key: string; reason: string }[] = [];
  ownersFailed: { key: string; failure: Failure }[] = [];
  late: readonly LateObject[] | undefined;
  unread: string[] = [];
  hasStandby = true;
  /** What keeps the group down, while something does. */
  hold: ((options: { signal: AbortSignal }) => Promise<void>) | undefined;
  /** Failures of the next demotions and releases, one after the other. */
  readonly failures: Failure[] = [];
  crash = false;

  constructor() {
    this.journal = Journal.open({ path: join(this.#folder, "g.db"), group: "g" });
    const did = (name: string) => {
      this.calls.push(`${name} (${readOrigin(this.journal)})`);
    };
    const report = () => {
      const failure = this.failures.shift();
      return failure === undefined ? [] : [{ key: web, failure }];
    };
    const applier = {
      demote: async () => {
        did("demote");
        if (this.crash) throw new Error("the process ends");
        return { stopped: [web], failed: report(), uids: [], stoppedMs: 1 };
      },
      release: async () => {
        did("release");
        return { released: [], failed: report() };
      },
      promote: async ({ onUp }: PromoteOptions) => {
        did("promote");
        await onUp?.(new Map());
        did("owners");
        return { failed: [], notReady: this.notReady, ownersFailed: this.ownersFailed };
      },
      activate: async () => did("activate"),
      follow: () => did("follow"),
      settleDivergence: async () => [],
    } as unknown as Applier;
    const host: ActionHost = {
      journal: this.journal,
      applier,
      group: undefined,
      openGate: async () => did("open gate"),
      closeGate: async () => did("close gate"),
      allowUnguarded: () => undefined,
      serve: async () => did("serve"),
      stopServing: async () => did("stop serving"),
      hasStandby: () => this.hasStandby,
      stopCapture: async () => did("stop capture"),
      pull: () => did("pull"),
      stopPulling: async () => did("stop pulling"),
      finalDigest: async () => ({ digest: this.journal.digest, revision: "", canary: undefined }),
      unseal: async () => false,
      receivedCanary: () => undefined,
      whenCurrent: async () => undefined,
      outcome: () => undefined,
      notice: ({ code }) => void this.notices.push(code),
      stopped: () => undefined,
      unreadKinds: () => this.unread,
      keepDown: (hold) => {
        this.hold = hold;
      },
      stopKeeping: async () => {
        this.hold = undefined;
      },
      started: (_goal, { rpoMs, late }) => {
        did("started");
        this.rpoMs = rpoMs;
        this.late = late;
      },
      standbyAgeMs: () => 1234,
      localObjects: async () => [],
      showObject: async () => undefined,
      nowMs: () => 0,
    };
    this.actions = new SiteActions(host);
  }

  async is(origin: Origin): Promise<this> {
    await writeOrigin(this.journal, origin);
    return this;
  }

  async receives(complete: boolean): Promise<void> {
    const batch = { epoch: "6.1", position: { ring: "r", seq: 1 }, records: [], complete };
    await this.journal.commit(batch, { signal });
  }

  get origin(): Origin {
    return readOrigin(this.journal);
  }

  start(): Promise<void> {
    return this.actions.startRunning({ cert, kind: "manual" }, { signal });
  }

  stop(): Promise<void> {
    return this.actions.stopRunning({ reason: "a test" }, { signal });
  }

  [Symbol.dispose](): void {
    this.journal.close();
    rmSync(this.#folder, { recursive: true });
  }
}

test("a stop that leaves something running rejects, and is done once that is down too", async () => {
  using site = await new Site().is("own");
  site.failures.push(refused);
  await expect(site.stop()).rejects.toThrow(`1 objects could not be taken down, such as ${web}: a policy says no`);
  expect(site.notices).toEqual([]);
  await site.stop();
  expect(site.notices).toEqual(["Stopped"]);
});

test("a group whose pods are not all stopped is not sealed", async () => {
  using site = await new Site().is("own");
  site.failures.push(refused);
  await expect(site.actions.quiesce({ opId: "op" }, { signal })).rejects.toMatchObject({ retryable: true });
  await site.actions.quiesce({ opId: "op" }, { signal });
});

test("a process that ends in the middle of a stop leaves a site that knows the way back", async () => {
  using site = await new Site().is("own");
  site.crash = true;
  await expect(site.stop()).rejects.toThrow("the process ends");
  expect(site.origin).toBe("held");
  await site.start();
  expect(site.calls.slice(-3)).toEqual(["release (held)", "serve (own)", "started (own)"]);
});

test("what could not be brought back is tried again, while what runs is served", async () => {
  using site = await new Site().is("held");
  site.failures.push(refused);
  await expect(site.start()).rejects.toThrow("could not be brought back");
  expect(site.calls).toEqual(["open gate (held)", "stop pulling (held)", "release (held)", "serve (held)"]);
  await site.start();
  expect(site.origin).toBe("own");
  site.failures.push(refused);
  await site.is("held");
  await expect(site.actions.unquiesce({ opId: "op", reason: "" }, { signal })).rejects.toMatchObject({
    retryable: true,
  });
  expect(site.origin).toBe("held");
});

test("a sealed source goes on being served until it follows", async () => {
  using site = await new Site().is("own");
  await site.actions.quiesce({ opId: "op" }, { signal });
  await site.stop();
  expect(site.calls.join()).not.toContain("stop serving");
  await site.actions.followPeer({ cert }, { signal });
  const gateAndDemote = ["close gate (own)", "demote (held)"];
  const again = ["close gate (held)", "demote (held)"];
  const following = ["stop serving (held)", "close gate (held)", ...again];
  expect(site.calls.slice(0, 7)).toEqual([...gateAndDemote, ...again, ...following].slice(0, 7));
  expect(site.origin).toBe("copy");
});

test("an incomplete first sync is told when a person starts from it", async () => {
  using site = await new Site().is("copy");
  await site.receives(false);
  await site.start();
  expect(site.notices).toEqual(["IncompleteStart"]);
});

test("a standby that has everything starts without a word", async () => {
  using site = await new Site().is("copy");
  await site.receives(true);
  await site.start();
  expect(site.notices).toEqual([]);
  expect(site.calls).toEqual([
    "open gate (copy)",
    "stop pulling (copy)",
    "promote (promoting)",
    // What takes long is of no concern to who protects it.
    "serve (promoting)",
    "owners (promoting)",
    "serve (own)",
    "started (own)",
  ]);
});

test("what a promotion has not got ready is told with the start, and does not keep it from being one", async () => {
  using site = await new Site().is("copy");
  await site.receives(true);
  site.notReady = [{ key: web, reason: "0 of 3 updated" }];
  site.ownersFailed = [{ key: "/Service/shop/web", failure: refused }];
  await site.start();
  expect(site.origin).toBe("own");
  expect(site.late).toEqual([
    { key: web, what: "NotReady", why: "0 of 3 updated" },
    { key: "/Service/shop/web", what: "OwnersNotRestored", why: "a policy says no" },
  ]);
  // Nothing was brought up from a journal: what is known from before stays.
  await site.start();
  expect(site.late).toBeUndefined();
});

test("the site where a group begins counts as running it: nothing there is a copy", async () => {
  using site = new Site();
  await site.start();
  expect(site.calls).toEqual([
    "open gate (none)",
    "stop pulling (none)",
    "activate (none)",
    "serve (own)",
    "started (own)",
  ]);
});

test("a takeover can have lost what came since everything was here, a switchover nothing", async () => {
  using site = new Site();
  const position = { ring: "r", seq: 1 };
  await site.journal.commit({ epoch: "7.0", position, records: [], complete: true }, { signal });
  await writeOrigin(site.journal, "copy");
  await site.actions.startRunning({ cert, kind: "takeover" }, { signal });
  expect(site.rpoMs).toBe(1234);
  await writeOrigin(site.journal, "copy");
  const next = { ...cert, epoch: { ...cert.epoch, counter: 2 } };
  await site.actions.startRunning({ cert: next, kind: "commit" }, { signal });
  expect(site.rpoMs).toBe(0);
});

test("what a takeover has lost is not told where the journal never held everything", async () => {
  using site = new Site();
  await writeOrigin(site.journal, "copy");
  await site.actions.startRunning({ cert, kind: "forced" }, { signal });
  expect(site.rpoMs).toBeUndefined();
});

test("what was taken down is held again until the site starts it or follows", async () => {
  using site = new Site();
  await writeOrigin(site.journal, "own");
  await site.actions.stopRunning({ reason: "fenced" }, { signal });
  const { hold } = site;
  expect(hold).toBeDefined();
  const demotions = () => site.calls.filter((call) => call.startsWith("demote")).length;
  const before = demotions();
  await hold?.({ signal });
  expect(demotions()).toBe(before + 1);
  site.failures.push(refused);
  await expect(hold?.({ signal })).rejects.toThrow("could not be kept down");
  await site.actions.followPeer({ cert }, { signal });
  expect(site.hold, "follows").toBeUndefined();
  await writeOrigin(site.journal, "own");
  await site.actions.stopRunning({ reason: "fenced again" }, { signal });
  expect(site.hold).toBeDefined();
  await site.actions.startRunning({ cert, kind: "resume" }, { signal });
  expect(site.hold, "runs").toBeUndefined();
});

test("a site that is stopped is silent to its standby; one that never heard of the group still hears of it", async () => {
  using site = new Site();
  await writeOrigin(site.journal, "own");
  await site.actions.stopRunning({ reason: "fenced" }, { signal });
  expect(site.calls).toEqual(["stop serving (own)", "close gate (own)", "demote (held)"]);
  using news = new Site();
  await writeOrigin(news.journal, "own");
  news.hasStandby = false;
  await news.actions.stopRunning({ reason: "fenced" }, { signal });
  const served = ["close gate (own)", "demote (held)", "serve (held)"];
  expect(news.calls).toEqual(served);
  // The next process has to begin to.
  await news.actions.stopRunning({ reason: "fenced" }, { signal });
  expect(news.calls.slice(served.length)).toEqual(["close gate (held)", "demote (held)", "serve (held)"]);
  await news.actions.followPeer({ cert }, { signal });
  expect(news.calls).toContain("stop serving (held)");
  // What was only being brought up would look deleted.
  using half = new Site();
  await writeOrigin(half.journal, "promoting");
  half.hasStandby = false;
  await half.actions.stopRunning({ reason: "fenced" }, { signal });
  expect(half.calls).toContain("stop serving (promoting)");
});

test("also a stop that failed in part is held again", async () => {
  using site = new Site();
  await writeOrigin(site.journal, "own");
  site.failures.push(refused);
  await expect(site.actions.stopRunning({ reason: "fenced" }, { signal })).rejects.toThrow("could not be taken down");
  expect(site.hold).toBeDefined();
});

test("a stop names the kinds that it could not see, and is not complete with them", async () => {
  using site = new Site();
  await writeOrigin(site.journal, "own");
  site.unread = ["apps/Deployment"];
  await expect(site.actions.stopRunning({ reason: "fenced" }, { signal })).rejects.toThrow(
    "not complete: apps/Deployment cannot be read",
  );
  expect(site.notices).not.toContain("Stopped");
  site.unread = ["example.dev/Widget"];
  await site.actions.stopRunning({ reason: "fenced" }, { signal });
  expect(site.notices).toContain("StopIncomplete");
  expect(site.notices).not.toContain("Stopped");
  await expect(site.actions.quiesce({ opId: "one" }, { signal })).rejects.toThrow("example.dev/Widget");
});
