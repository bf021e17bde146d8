import { describe, expect, it } from "vitest";
import type { GroupView } from "../../../src/agent/status.ts";
import { groupStatusSchema } from "../../../src/config/status.ts";
import { LifeboatError } from "../../../src/errors.ts";
import type { TimelineEvent, TimelineName } from "../../../src/failover/runner/timeline.ts";
import { activeView, conditionIn, standbyView, statusOf } from "./views.ts";

/** What a person reads of a group at one site, for all that an agent can find out about it. */

const web = "apps/Deployment/shop/web";
const key = "/ConfigMap/shop/settings";

describe("the conditions of a healthy group", () => {
  it("are good at a standby", () => {
    const status = statusOf(standbyView());
    const good = ["Accepted", "Synced", "Ready", "Armed"];
    for (const { type, status: holds } of status.conditions ?? []) {
      expect(`${type} ${holds}`).toBe(`${type} ${good.includes(type) ? "True" : "False"}`);
    }
    expect(status).toMatchObject({ role: "standby", active: "east", epoch: "4.2", findings: [] });
    expect(conditionIn(status, "Degraded")).toBe("False Healthy");
    expect(groupStatusSchema.parse(status)).toEqual(status);
  });

  it("are good at the site that runs it, where nobody asks whether it could be promoted", () => {
    const status = statusOf(activeView({ applier: { promotable: { ok: true, count: 0, findings: [] } } }));
    expect(status).toMatchObject({ role: "active", active: "west", lag: { summary: "0.3s" } });
    expect(conditionIn(status, "Ready")).toBe("True Ready");
    expect(conditionIn(status, "Promotable")).toBeUndefined();
  });
});

describe("a group that runs at both sites", () => {
  const merge: NonNullable<GroupView["merge"]> = {
    pending: 0,
    failing: new Map(),
    findings: new Map(),
    conflicts: [{ key, foundMs: 0, winner: "west", loser: "east", wonAt: "2.0", lostAt: "1.0", deletion: true }],
    conflictCount: 51,
    tombstones: 2,
    objects: 9,
    singles: [web],
    aheadMs: 0,
    deletesPaused: undefined,
    singlesHere: false,
    surgePercent: undefined,
  };

  it("is active at both, and says where what is single runs and which writes were lost", () => {
    const status = statusOf(standbyView({ view: { serving: true, merge } }));
    expect(status).toMatchObject({ role: "active", active: "east" });
    expect(status.merge).toEqual({
      singletons: "at the other site",
      singletonCount: 1,
      tombstones: 2,
      conflictCount: 51,
      conflicts: [
        {
          object: key,
          at: "1970-01-01T00:00:00.000Z",
          winner: "west",
          loser: "east",
          message: "west wrote at 2.0, east at 1.0; one of the two was a deletion",
        },
      ],
    });
    expect(groupStatusSchema.parse(status)).toEqual(status);
  });

  it("says that it carries both loads, and that the other site's clock is not followed", () => {
    const status = statusOf(activeView({ view: { merge: { ...merge, surgePercent: 200, aheadMs: 90_000.4 } } }));
    expect(status.merge).toMatchObject({ surgePercent: 200, clockAheadMs: 90_000 });
    expect(statusOf(standbyView()).merge).toBeUndefined();
  });
});

describe("the counts of a standby", () => {
  it("call applied only what is neither pending nor held back on purpose", () => {
    const view = standbyView({ applier: { objects: 9, pending: 2, withheld: { PilotLight: 4, NeverStandby: 1 } } });
    expect(statusOf(view).counts).toMatchObject({ objects: 9, applied: 2, pending: 2, withheld: 5 });
  });
});

describe("each condition about objects says how many, and the findings say which", () => {
  it.each<{ type: string; says: string; finding?: object; view: GroupView }>([
    {
      type: "Conflicts",
      says: "True Exists: 2 objects exist here that Lifeboat has not made",
      finding: { code: "Conflict", object: key, message: "it belongs to helm" },
      view: standbyView({ applier: { conflictCount: 2, conflicts: [{ key, message: "it belongs to helm" }] } }),
    },
    {
      type: "Contested",
      says: "True Fought: 1 objects are changed back by somebody again and again",
      finding: { code: "Contested", object: key, message: "somebody changes it back again and again" },
      view: standbyView({ applier: { contested: [{ key, manager: "helm", fields: ["/data/a"], sinceMs: 0 }] } }),
    },
    {
      type: "FieldsDropped",
      says: "True Dropped: 3 objects have fields that this site cannot hold",
      finding: { code: "FieldsDropped", object: web, message: "/spec/a, /spec/b" },
      view: standbyView({
        applier: { fieldsDroppedCount: 3, fieldsDropped: [{ key: web, fields: ["/spec/a", "/spec/b"] }] },
      }),
    },
    {
      type: "Promotable",
      says: "False Refused: 1 objects would be refused if this site became active",
      finding: { code: "NotPromotable", object: web, message: "QuotaExceeded: no room for 3 pods" },
      view: standbyView({
        applier: {
          promotable: {
            ok: false,
            count: 1,
            findings: [{ key: web, reason: "QuotaExceeded", message: "no room for 3 pods", sinceMs: 0 }],
          },
        },
      }),
    },
    {
      type: "PodsLeft",
      says: "True Running: 2 pods of the group run at this site, which must not run it, such as /Pod/shop/web-1",
      finding: { code: "PodsLeft", object: "/Pod/shop/web-1", message: "still ending" },
      view: standbyView({
        applier: {
          podsLeft: ["/Pod/shop/web-1", "/Pod/shop/web-2"],
          findings: [{ code: "PodsLeft", key: "/Pod/shop/web-1", message: "still ending" }],
        },
      }),
    },
    {
      type: "DeletesPaused",
      says: "True TooMany: 30 of 40 objects vanished at once; 12 deletes wait for `lifeboat deletes confirm shop`",
      view: standbyView({ applier: { deletesPaused: { sinceMs: 0, count: 30, of: 40, pending: 12 } } }),
    },
    {
      type: "Diverged",
      says: "True Kept: 1 objects that differed here when the other site took over are kept",
      view: standbyView({ view: { divergent: [{ key, what: "changed" }] } }),
    },
    {
      type: "Blocked",
      says: "True Blocked: both sites claim epoch 4.2; restore the witness's store",
      view: standbyView({
        failover: {
          state: "Blocked",
          blocked: { code: "Blocked", message: "both sites claim epoch 4.2; restore the witness's store" },
        },
      }),
    },
    {
      type: "Degraded",
      says: "True Degraded: 1 objects cannot be applied",
      finding: { code: "QuotaExceeded", object: web, message: "no room" },
      view: standbyView({
        applier: {
          failingCount: 1,
          failing: [{ key: web, reason: "QuotaExceeded", message: "no room", sinceMs: 0 }],
        },
      }),
    },
  ])("$type", ({ type, says, finding, view }) => {
    const status = statusOf(view);
    expect(conditionIn(status, type)).toBe(says);
    if (finding !== undefined) expect(status.findings).toContainEqual(finding);
    expect(groupStatusSchema.parse(status)).toEqual(status);
    // Nothing of it is there when nothing is wrong.
    const healthy = conditionIn(statusOf(standbyView()), type) ?? "False";
    expect(healthy).toMatch(/^False (None|Blocked|Healthy)$|^False$/);
  });

  it("Promotable is True once a dry run in the active role went through, and unknown before", () => {
    expect(conditionIn(statusOf(standbyView()), "Promotable")).toBeUndefined();
    const proven = standbyView({ applier: { promotable: { ok: true, count: 0, findings: [] } } });
    expect(conditionIn(statusOf(proven), "Promotable")).toBe("True Proven");
  });

  it("the list of what diverged is cut, its count is whole", () => {
    const divergent = Array.from({ length: 30 }, (_, at) => ({ key: `${key}-${at}`, what: "extra" as const }));
    const { divergence } = statusOf(standbyView({ view: { divergent } }));
    expect(divergence).toMatchObject({ count: 30 });
    expect(divergence?.objects).toHaveLength(20);
  });
});

describe("a stream that ended for a reason", () => {
  const errors = [
    ["JournalFull", "no space left on device", "free space on the disk"],
    ["PeerVersion", "east speaks version 2", "upgrade this agent"],
    ["PeerCertificate", "the certificate is not of this pair", undefined],
    ["PeerUnreachable", "no answer from east", undefined],
  ] as const;

  it.each(errors)("%s is the reason of Degraded", (code, message, hint) => {
    const streamError = new LifeboatError(code, message, hint === undefined ? {} : { hint });
    const status = statusOf(standbyView({ view: { streamError } }));
    const sentence = hint === undefined ? message : `${message}; ${hint}`;
    expect(conditionIn(status, "Degraded")).toBe(`True ${code}: ${sentence}`);
    // What was received before is still there.
    expect(conditionIn(status, "Synced")).toBe("True UpToDate: everything was received");
    expect(conditionIn(status, "Ready")).toBe(`False NotReady: ${message}`);
  });

  it.each(errors)("%s is the reason why nothing was ever received, too", (code, message) => {
    const streamError = new LifeboatError(code, message);
    const status = statusOf(standbyView({ view: { streamError, journalSynced: false } }));
    expect(conditionIn(status, "Synced")).toBe(`False ${code}: ${message}`);
  });

  it("comes before the objects that fail meanwhile, and both are told", () => {
    const streamError = new LifeboatError("JournalFull", "no space left");
    const applier = { failingCount: 2 };
    const status = statusOf(standbyView({ applier, view: { streamError } }));
    expect(conditionIn(status, "Degraded")).toBe("True JournalFull: no space left; 2 objects cannot be applied");
  });
});

describe("a suspended group", () => {
  it("is not ready at its standby, which says what waits and what goes on", () => {
    const status = statusOf(standbyView({ applier: { suspended: true, pending: 3 } }));
    expect(conditionIn(status, "Ready")).toBe(
      "False Suspended: spec.suspend is true: nothing is applied here until it is false; 3 objects wait; " +
        "the journal goes on receiving",
    );
    expect(conditionIn(status, "Synced")).toMatch(/^True/);
  });

  it("is what it was at the site that runs it", () => {
    expect(conditionIn(statusOf(activeView({ applier: { suspended: true } })), "Ready")).toBe("True Ready");
  });

  it("that has no stream says that first", () => {
    const streamError = new LifeboatError("PeerUnreachable", "no answer from east");
    const status = statusOf(standbyView({ applier: { suspended: true }, view: { streamError } }));
    expect(conditionIn(status, "Ready")).toBe("False NotReady: no answer from east");
  });
});

describe("a move that left something behind", () => {
  const late = [
    { key: web, what: "NotReady", why: "0 of 3 updated" },
    { key, what: "OwnersNotRestored", why: "it was changed at the same moment" },
  ] as const;
  const lastStart = {
    goal: {
      cert: { epoch: { generation: 4, nonce: "n", counter: 2, forcedBy: "" }, holder: "west", sig: "" },
      kind: "manual",
    },
    failed: 1,
    late,
    tookMs: 31_000,
    rpoMs: 0,
    atMs: 0,
  } as const;

  it("is told with each object and why, by the findings and by how the move ended", () => {
    const status = statusOf(activeView({ view: { late, lastStart } }));
    expect(status.findings).toEqual([
      { code: "NotReady", object: web, message: "is not ready since the group was started here: 0 of 3 updated" },
      {
        code: "OwnersNotRestored",
        object: key,
        message: "some of its fields stay Lifeboat's instead of their owners': it was changed at the same moment",
      },
    ]);
    expect(status.lastFailover?.outcome).toBe(
      `started in 31s, 1 objects failed, 1 objects not ready in time (${web}: 0 of 3 updated), ` +
        `1 objects whose fields stay Lifeboat's (${key}: it was changed at the same moment)`,
    );
  });

  it("is no finding at a site that does not run the group any more", () => {
    expect(statusOf(standbyView({ view: { late, lastStart } })).findings).toEqual([]);
  });

  it("is told with its own times, and not with those of a start before", () => {
    const event = (name: TimelineName, monotonicMs: number) => {
      return { event: name, monotonicMs, wallMs: monotonicMs, detail: "" };
    };
    const before = [event("grantReceived", 1_000), event("started", 1_100)];
    const switched = [
      ...before,
      event("lastPeerHeartbeat", 7_000),
      event("commitReceived", 7_400),
      event("started", 8_000),
    ];
    const beating = [
      ...before,
      event("commitReceived", 7_000),
      event("lastPeerHeartbeat", 7_400),
      event("started", 8_000),
    ];
    const moveOf = (timeline: readonly TimelineEvent[]) =>
      statusOf(activeView({ failover: { timeline }, view: { lastStart } })).lastFailover;
    expect(moveOf(switched)).toMatchObject({ decisionMs: 400, rtoMs: 1_000 });
    expect(moveOf(switched)?.timeline?.map(({ event: name }) => name)).not.toContain("grantReceived");
    expect(moveOf(beating)).not.toHaveProperty("decisionMs");
    expect(moveOf([...before, event("commitReceived", 7_000), event("started", 8_000)])).not.toHaveProperty("rtoMs");
  });

  it("and one that left nothing says how long it took", () => {
    const status = statusOf(activeView({ view: { lastStart: { ...lastStart, failed: 0, late: [] } } }));
    expect(status.lastFailover?.outcome).toBe("started in 31s");
  });
});

it("a spec that is accepted and does not do all it says is told in Accepted", () => {
  const status = statusOf(activeView({ view: { specWarnings: ["spec.mode: one", "spec.suspend: two"] } }));
  expect(conditionIn(status, "Accepted")).toBe("True Valid: spec.mode: one; spec.suspend: two");
});
