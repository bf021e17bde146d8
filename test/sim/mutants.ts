/**
 * The protocol broken one rule at a time. A mutant is a replacement in the text of a reducer: the sources are copied,
 * one place is changed, and what is loaded from the copy takes the reducers' place. A text that is not found exactly
 * once fails loudly, so that the table cannot drift away from the code.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Mode } from "./options.ts";
import { loadReducers } from "./reducers.ts";
import type { Reducers } from "./reducers.ts";
import type { World } from "./world.ts";

export const sourceFolder = fileURLToPath(new URL("../../src/failover", import.meta.url));

export interface Change {
  readonly file: string;
  readonly find: string;
  readonly put: string;
}

export interface Mutant {
  readonly name: string;
  /** The rule or hole that it breaks. */
  readonly rule: string;
  readonly changes: readonly Change[];
  /** Scenarios that are tried first, by the start of their name. */
  readonly scenarios: readonly string[];
  /** Where no scenario kills it: histories of this mode, that many seeds. */
  readonly seeds?: { readonly mode: Mode; readonly count: number; readonly from?: number };
  /** Why nothing breaks: what else has to be broken with it. The pair stands in the table where there is one. */
  readonly equivalent?: string;
  /** Breaks the host instead of a reducer: what the runner owes to them. */
  readonly world?: (world: World) => void;
}

const one = (file: string, find: string, put: string): Change[] => [{ file, find, put }];

/** Texts that a mutant and its pair share. */
const lainThere = one("witness-switch.ts", "draft.now, leaseMs)", "draft.now, Infinity)");
const awayTarget = one("witness-switch.ts", "first && wasAway(state, site)", "first && draft.now < 0");
const uncountedStop = one("agent-draft.ts", "guards[node]?.stopMs ?? 0", "0");
const sameCopy = one("agent-guards.ts", "Math.max(0, guardMs - grantor.leaseGuardMs)", "0");
const placedAnywhere = one("agent-guards.ts", ' && (report.mode !== "open" || report.known)', "");
const needNotHear = ["state.record.sites.some((site)", "state.record.sites.every((site)"] as const;
const promiseInFlight = [
  `if (s.phase.type !== "Standby") {`,
  `if (s.phase.type !== "Standby" && s.phase.type !== "Acquiring") {`,
] as const;
const lateGrant = [
  `if (phase.type !== "Acquiring" || phase.nonce !== grant.nonce || s.pending !== null) return;`,
  `if (s.pending !== null) return;`,
] as const;
const forgetSeal = [
  "if (seal !== null && sameCert(seal.cert, cert))",
  "if (seal !== null && seal.cert === null)",
] as const;
const runBeforeRecord = [
  `  d.persist(patch, { type: "granted", leaseEndMs: leaseEnd, sentAtMs, guardMs, how });`,
  `  d.set({ record: { ...d.s.record, ...patch } });\n  afterGrant(d, { type: "granted", leaseEndMs: leaseEnd, sentAtMs, guardMs, how });`,
] as const;
const promiseSealed = [
  "if (s.record.incoming !== null && sameCert(s.record.incoming.cert, renew.cert)) {",
  "if (s.record.incoming !== null && now < 0) {",
] as const;
const grantReleased = [
  "if (state.record.released && holder !== message.site)",
  "if (state.record.released && holder === message.site)",
] as const;

export const mutants: readonly Mutant[] = [
  {
    name: "no G",
    rule: "timing 3",
    changes: one("timing.ts", "const promiseMs = leaseMs + guardMs;", "const promiseMs = leaseMs;").concat(
      one(
        "witness.ts",
        "const promiseMs = message.leaseMs + Math.max(message.guardMs, message.stopBoundMs)",
        "const promiseMs = message.leaseMs",
      ),
      one(
        "agent-renew.ts",
        "Math.max(renew.leaseMs, s.policy.timing.leaseMs) + promisedGuardMs(d, renew)",
        "renew.leaseMs",
      ),
    ),
    scenarios: ["case-primary-isolated"],
  },
  {
    name: "witness decides alone",
    rule: "timing 4: the standby's own promise",
    changes: one("agent-acquire.ts", "if (leftMs > 0)", "if (leftMs > Infinity)"),
    scenarios: ["case-link-primary-witness-cut"],
  },
  {
    name: "no guard",
    rule: "sentence 2: a lease is not a fence",
    changes: one("guard.ts", `effects.push({ type: "stop", reason });`, `effects.push();`),
    scenarios: ["case-api-outage-isolated-guarded"],
  },
  {
    name: "epoch without holder",
    rule: "R1: whole certificates",
    changes: one(
      "epoch.ts",
      `  return order === "same" && a.holder !== b.holder ? "conflict" : order;`,
      `  return order;`,
    )
      .concat(one("agent-acquire.ts", "  if (grant.cert.holder !== s.config.site) return;\n", ""))
      .concat(
        one(
          "witness.ts",
          "const isHolder = record.cert !== null && record.cert.holder === message.site && sameCert",
          "const isHolder = record.cert !== null && sameCert",
        ),
      ),
    scenarios: ["case-primary-returns"],
  },
  {
    name: "an active/active owner granted twice",
    rule: "one epoch, one holder",
    changes: one(
      "witness-draft.ts",
      "(state.record.cert?.epoch.counter ?? 0) + 1",
      "Math.max(1, state.record.cert?.epoch.counter ?? 0)",
    ),
    scenarios: ["case-primary-returns"],
  },
  {
    name: "no drift factor",
    rule: "timing 1 and 2",
    changes: one(
      "timing.ts",
      "const factor = (1 - rho) / (1 + rho);\n  const promiseMs",
      "const factor = 1 + rho;\n  const promiseMs",
    ),
    scenarios: ["hole-drift"],
    seeds: { mode: "extremal", count: 3000 },
  },
  {
    name: "frozen clock believed",
    rule: "ε: the guard compares clocks",
    changes: one(
      "guard.ts",
      "if (baseline.offsetMs - high > timing.slipMs)",
      "if (baseline.offsetMs - high > Infinity)",
    ),
    scenarios: ["hole-frozen-agent"],
    seeds: { mode: "frozen", count: 4000 },
  },
  {
    name: "lease counted from the acknowledgement",
    rule: "timing 1",
    changes: one("agent-renew.ts", "const endMs = sentAtMs + Math.min", "const endMs = d.now + Math.min"),
    scenarios: ["hole-slow-ack"],
    seeds: { mode: "extremal", count: 3000 },
  },
  {
    name: "guard's copy counted from the answer",
    rule: "timing 2",
    changes: one("guard.ts", "const untilMs = sentAt + answer.remainingMs", "const untilMs = now + answer.remainingMs"),
    scenarios: ["hole-slow-answer"],
    seeds: { mode: "extremal", count: 3000 },
  },
  {
    name: "witness need not hear both",
    rule: "R3",
    changes: one("witness-grant.ts", ...needNotHear),
    scenarios: ["hole-forced-then-return"],
  },
  {
    name: "pair: need not hear both, and resumes beside a site that was never heard",
    rule: "R3 with R2",
    changes: [
      ...one("witness-grant.ts", ...needNotHear),
      ...one(
        "witness-grant.ts",
        "if (heard === undefined || heard.echoMs === null || heard.echoMs < asked.atMs) {",
        "if (heard !== undefined && (heard.echoMs === null || heard.echoMs < asked.atMs)) {",
      ),
      ...one("witness-grant.ts", "otherRuns.has(heard.state)", "heard !== undefined && otherRuns.has(heard.state)"),
      ...one("witness-grant.ts", "`${other} is ${heard.state}`", "`${other} is ${heard?.state}`"),
    ],
    scenarios: ["hole-forced-then-disk-lost"],
  },
  {
    name: "stale disarm acknowledgement",
    rule: "R5, R6",
    changes: one("agent-renew.ts", "ack.seq < ask.sinceSeq || ", ""),
    scenarios: ["hole-late-disarm"],
  },
  {
    name: "policy edit: D of the policy, not of the promise",
    rule: "timing 7",
    changes: one(
      "agent-renew.ts",
      "Math.min(ack.leaseMs, timing.leaseMs)",
      "Math.max(ack.leaseMs, timing.leaseMs)",
    ).concat(
      one(
        "witness.ts",
        "promiseUntilMs: Math.max(state.promiseUntilMs, now + heard.promiseMs)",
        "promiseUntilMs: now + heard.promiseMs",
      ),
      one(
        "agent-renew.ts",
        "promiseUntilMs: Math.max(s.promiseUntilMs, now + promiseMs)",
        "promiseUntilMs: now + promiseMs",
      ),
    ),
    scenarios: ["hole-policy-edit"],
  },
  {
    name: "generation not above the stored one",
    rule: "R1",
    changes: one(
      "witness.ts",
      "Math.max((boot.stored?.generation ?? 0) + 1, Math.floor(boot.unixSeconds), boot.heard + 1)",
      "Math.floor(boot.unixSeconds)",
    ),
    scenarios: ["hole-rolled-back-generation", "case-witness-rolled-back", "hole-forgotten-generation"],
    seeds: { mode: "uniform", count: 3000 },
  },
  {
    name: "a forgotten generation goes on",
    rule: "R1: any heard + 1",
    changes: one(
      "witness.ts",
      `message.type === "Renew" && message.generation > instance.generation`,
      `message.type === "Renew" && message.generation > Infinity`,
    ),
    scenarios: ["hole-forgotten-generation"],
    seeds: { mode: "uniform", count: 3000 },
  },
  {
    name: "a resume need not hear the other site",
    rule: "R2",
    changes: one(
      "witness-grant.ts",
      "if (heard === undefined || heard.echoMs === null || heard.echoMs < asked.atMs) {",
      "if (heard === undefined) {",
    ),
    scenarios: ["hole-resume-behind-forced", "hole-forced-then-return"],
  },
  {
    name: "a restarted agent needs a new epoch",
    rule: "R2: guards that hold on",
    changes: one("agent-guards.ts", "if (sameCert(report.cert, s.record.cert)) return true;", ""),
    scenarios: ["hole-rolling-reboot"],
  },
  {
    name: "no fresh echo needed",
    rule: "R3, last sentence",
    changes: one(
      "witness.ts",
      "if (heard.echoMs === null || now - heard.echoMs > echoMax) {",
      "if (heard.echoMs === null) {",
    ).concat(one("agent-renew.ts", "now, renew.leaseMs)", "now, Infinity)")),
    scenarios: ["case-primary-deaf"],
  },
  {
    name: "promise while an Acquire is in flight",
    rule: "R4",
    changes: one("agent-renew.ts", ...promiseInFlight),
    scenarios: ["hole-promise-while-acquiring", "hole-question-unanswered"],
    equivalent:
      "a question is given up after T_req, less than G before its grant: the holder has lapsed, and is promised nothing",
  },
  {
    name: "pair: promise while an Acquire is in flight, and it is never given up",
    rule: "R4 with T_req",
    changes: [
      ...one("agent-renew.ts", ...promiseInFlight),
      ...one("agent-acquire.ts", "now >= phase.sentAtMs + patienceMs(s, phase.kind)", "now >= Infinity"),
    ],
    scenarios: ["hole-question-unanswered"],
  },
  {
    name: "late grants are taken",
    rule: "R4: nonce",
    changes: one("agent-acquire.ts", ...lateGrant),
    scenarios: ["hole-late-grant", "hole-grant-after-next"],
    equivalent:
      "a grant's lease counts from its question: one that comes after D is not used, and the next waits D + G",
  },
  {
    name: "pair: late grants are taken, and count from their arrival",
    rule: "R4 with timing 1",
    changes: [
      ...one("agent-acquire.ts", ...lateGrant),
      ...one("agent-acquire.ts", "accept(d, grant, sent[1], ", "accept(d, grant, d.now, "),
    ],
    scenarios: ["hole-grant-after-next"],
  },
  {
    name: "re-armed before the guards have acknowledged",
    rule: "R5",
    changes: one(
      "agent-draft.ts",
      "  for (const node in s.guards) if (!isBound(s, s.guards[node])) return false;\n  return true;",
      "  return true;",
    ),
    scenarios: ["hole-guard-not-rearmed"],
    seeds: { mode: "uniform", count: 3000 },
  },
  {
    name: "an older incarnation is obeyed",
    rule: "R5: incarnations",
    changes: one("guard.ts", "if (answer.incarnation < state.record.incarnation)", "if (answer.incarnation < 0)"),
    scenarios: ["hole-paused-agent-wakes"],
  },
  {
    name: "a disarm is no veto",
    rule: "R6",
    changes: [
      {
        file: "witness-grant.ts",
        find: '  if (record.veto !== null) {\n    return no(\n      refusal("Veto", `${holder}',
        put: '  if (record.veto === undefined) {\n    return no(\n      refusal("Veto", `${holder}',
      },
      { file: "agent-acquire.ts", find: `if (s.record.veto !== null && kind !== "resume") return vetoed(s);`, put: "" },
      {
        file: "agent-commands.ts",
        find: "if (!answers && s.record.veto !== null) {",
        put: "if (!answers && s.record.veto === undefined) {",
      },
    ],
    scenarios: ["hole-waiting-is-no-fence"],
  },
  {
    name: "a cold boot keeps its disarm",
    rule: "R6",
    changes: one("agent.ts", "if (s.record.disarm !== null && guardsHoldFree(d)) {", "if (s.record.disarm !== null) {"),
    scenarios: ["hole-disarmed-then-forced", "hole-backup-disarm"],
  },
  {
    name: "the gate fails open after a boot",
    rule: "R7",
    changes: one("guard.ts", "const gated = record.known;", "const gated = false;"),
    scenarios: ["hole-kubelet-before-guard"],
  },
  {
    name: "guards learn of a group by its first grant only",
    rule: "R7, first grant",
    changes: one(
      "agent-acquire.ts",
      `if (s.phase.type === "Adopting" && !guardsKnow(s))`,
      `if (kind === "adopt" && s.bootedAtMs < -1)`,
    ),
    scenarios: ["hole-first-grant-then-off"],
  },
  {
    name: "what was stopped may start again",
    rule: "R7: keep down",
    changes: one("guard.ts", `if (answer.verdict === "deny" || order === "conflict") {`, `if (order === "conflict") {`),
    scenarios: ["case-failback"],
  },
  {
    name: "force-fenced with the same epoch",
    rule: "R8: the site's own id",
    changes: one("epoch.ts", "counter: seen.counter + 1, forcedBy: site", 'counter: seen.counter, forcedBy: ""'),
    scenarios: ["hole-forced-then-return", "case-witness-then-primary-dead"],
  },
  {
    name: "two witnesses, no term in the transaction",
    rule: "R9",
    changes: [],
    world: (world) => {
      world.oracle.skipsTerm = true;
    },
    scenarios: ["hole-two-witnesses"],
    equivalent: "heartbeats carry the newer generation, and the older process starts again; see the pair",
  },
  {
    name: "pair: no term, and a forgotten generation goes on",
    rule: "R9 with R1",
    changes: one(
      "witness.ts",
      `message.type === "Renew" && message.generation > instance.generation`,
      `message.type === "Renew" && message.generation > Infinity`,
    ),
    world: (world) => {
      world.oracle.skipsTerm = true;
    },
    scenarios: ["hole-two-witnesses"],
  },
  {
    name: "unguarded nodes before the witness knows",
    rule: "coverage",
    changes: one("agent-guards.ts", `(!holdsCert(s) || isLeaseFree(s) || s.witness.fenceCap !== "guard")`, "true"),
    scenarios: ["hole-unguarded-node-unheard", "hole-pod-on-new-node"],
  },
  {
    name: "the witness ignores the fence capability",
    rule: "fenceCap",
    changes: one("witness-grant.ts", `if (cap === "guard" || cap === "storage" ||`, `if (cap !== "none" ||`),
    scenarios: ["case-api-outage-isolated-unguarded", "hole-pod-on-new-node"],
  },
  {
    name: "an older certificate opens a gate",
    rule: "R11",
    changes: one("guard.ts", `if (order === "older") return remember`, `if (order === "conflict") return remember`),
    scenarios: ["hole-restored-before-grant"],
  },
  {
    name: "no boot wait at the standby",
    rule: "a boot waits for the longest promise",
    changes: one(
      "agent-acquire.ts",
      `const bootedMs = kind === "resume" ? 0 : s.bootedAtMs + longestMs;`,
      `const bootedMs = Math.min(0, longestMs);`,
    ),
    scenarios: ["hole-boot-wait-standby"],
  },
  {
    name: "no boot wait at the witness",
    rule: "a boot waits for the longest promise",
    changes: one(
      "witness-grant.ts",
      "const leftMs = instance.bootedAtMs + waitMs - now;",
      "const leftMs = Math.min(0, instance.bootedAtMs + waitMs - now);",
    ),
    scenarios: ["hole-boot-wait-witness"],
  },
  {
    name: "a disarm is acknowledged before it is durable",
    rule: "a grantor's record comes before its answer",
    changes: one(
      "agent-renew.ts",
      `  return d.persist({ veto: { incarnation: renew.incarnation } }, { type: "none" }) || d.s.pending !== null;`,
      `  const next = { veto: { incarnation: renew.incarnation } };
  d.persist(next, { type: "none" });
  d.set({ record: { ...d.s.record, ...next } });
  return false;`,
    ),
    scenarios: ["hole-disarm-not-durable"],
  },
  {
    name: "the witness answers before its record is durable",
    rule: "a grantor's record comes before its answer",
    changes: [],
    world: (world) => {
      world.witness.commitsAfterMs = 1500;
    },
    scenarios: ["hole-grant-forgotten", "case-witness-restart", "hole-boot-wait-witness"],
    equivalent:
      "what it forgot it hears from both sites before it says yes, and armed is volatile: two more rules had to go with it",
  },
  {
    name: "guards wake up eight times later than they may",
    rule: "timing 3: P",
    changes: [],
    world: (world) => {
      for (const key of ["east", "west"] as const) for (const node of world.sites[key].nodes) node.lateFactor = 8;
    },
    scenarios: ["hole-guard-late"],
  },
  {
    name: "a contradiction that names no action",
    rule: "L4",
    changes: one(
      "agent-draft.ts",
      'action: "find out which site ran last, make sure the other is off, then force-fenced there",',
      'action: "",',
    ),
    scenarios: ["hole-same-generation-twice"],
  },
  {
    name: "a contradiction is taken for an older certificate",
    rule: "R1: the same number with another nonce",
    changes: one("epoch.ts", `if (a.nonce !== b.nonce) return "conflict";`, `if (a.nonce !== b.nonce) return "older";`),
    scenarios: ["hole-same-generation-twice"],
  },
  {
    name: "no cooldown",
    rule: "L3",
    changes: one(
      "witness-grant.ts",
      "  if (automaticAtUnixMs === null) return null;",
      "  if (automaticAtUnixMs !== undefined) return null;",
    ),
    scenarios: ["hole-ping-pong"],
  },
  {
    name: "a standby that is not Ready takes over",
    rule: "Ready",
    changes: [
      {
        file: "agent-acquire.ts",
        find: `if (ready !== "Ready") return refusal`,
        put: `if (ready === undefined) return refusal`,
      },
      { file: "agent-acquire.ts", find: "    if (lagMs === null || lagMs >", put: "    if (lagMs !== null && lagMs >" },
      {
        file: "witness-grant.ts",
        find: `if (message.ready !== "Ready") return`,
        put: `if (message.ready === undefined) return`,
      },
      { file: "witness-grant.ts", find: "  if (lagMs === null || lagMs >", put: "  if (lagMs !== null && lagMs >" },
    ],
    scenarios: ["hole-not-ready"],
  },
  {
    name: "switchover without comparing the seal",
    rule: "I6",
    changes: one("agent-switch.ts", "  if (wrong.length > 0) {", "  if (wrong.length > 99) {"),
    scenarios: ["hole-seal-mismatch"],
  },
  {
    name: "the epoch is checked after the apply",
    rule: "I5",
    changes: [],
    world: (world) => {
      for (const key of ["east", "west"] as const) world.sites[key].data.checksEpoch = false;
    },
    scenarios: ["hole-restored-receiver"],
  },
  {
    name: "commit without CaughtUp",
    rule: "switchover",
    changes: one(
      "agent-switch.ts",
      '  d.set({ incoming: { verified: false, nonce: d.nonce(), sinceSeq: s.witness.seq } });\n  d.emit({ type: "applySeal", seal });\n}',
      '  d.set({ incoming: { verified: true, nonce: d.nonce(), sinceSeq: s.witness.seq } });\n  d.emit({ type: "applySeal", seal });\n}',
    ),
    scenarios: ["hole-seal-mismatch"],
  },
  {
    name: "sealed with a gate still open",
    rule: "seal after the gates",
    changes: one("agent-switch.ts", " || !gatesClosed(d.s, d.now)) return;", ") return;"),
    scenarios: ["hole-seal-gate-open"],
  },
  {
    name: "a restart forgets the seal",
    rule: "seal is durable",
    changes: one("agent-draft.ts", ...forgetSeal),
    scenarios: ["hole-restart-sealed"],
    equivalent:
      "every gate was closed before the seal: it boots cold, needs an epoch, and the witness voids or commits first",
  },
  {
    name: "three: a restart forgets the seal, a gate was still open, and the target promises under its epoch",
    rule: "seal is durable, with seal after the gates and R4",
    changes: [
      ...one("agent-draft.ts", ...forgetSeal),
      ...one("agent-switch.ts", " || !gatesClosed(d.s, d.now)) return;", ") return;"),
      ...one("agent-renew.ts", ...promiseSealed),
    ],
    scenarios: ["hole-restart-sealed-unheard"],
  },
  {
    name: "a sealed source calls off by itself",
    rule: "after CaughtUp only the witness aborts",
    changes: one(
      "agent-switch.ts",
      '  d.set({ aborting: opId });\n  d.notice("SwitchoverAborting"',
      '  d.phase({ type: "Active" });\n  d.emit({ type: "unquiesce", opId, reason: "mutant" });\n  d.notice("SwitchoverAborting"',
    ),
    scenarios: ["hole-commit-voided"],
  },
  {
    name: "failback deletes the divergence",
    rule: "I8",
    changes: one(
      "agent-acquire.ts",
      "if (divergence !== null && !divergence.saved) d.emit",
      "if (divergence !== null && divergence.saved) d.emit",
    ),
    scenarios: ["case-primary-returns", "hole-divergence"],
  },
  {
    name: "runs before the grant is durable",
    rule: "durable before dependent",
    changes: one("agent-acquire.ts", ...runBeforeRecord),
    scenarios: ["case-agent-restart"],
  },
  {
    name: "pair: runs before the grant is durable, and guards are not asked for the epoch",
    rule: "durable before dependent, with what guards know",
    changes: [...one("agent-acquire.ts", ...runBeforeRecord), ...one("agent-guards.ts", "  d.see(poll.cert);\n", "")],
    scenarios: ["hole-grant-forgotten"],
  },
  {
    name: "one node's guard is ignored",
    rule: "coverage: every guard",
    changes: one(
      "agent-draft.ts",
      'export function guardsSettled(s: AgentState): boolean {\n  if (s.fence.cap !== "guard") return true;',
      'export function guardsSettled(s: AgentState): boolean {\n  if (s.fence.cap !== "none") return true;',
    ),
    scenarios: ["hole-guard-not-rearmed"],
    seeds: { mode: "uniform", count: 3000 },
  },
  {
    name: "a released group is granted to the other site",
    rule: "release",
    changes: one("witness-grant.ts", ...grantReleased),
    scenarios: ["hole-release-old-record"],
    equivalent: "a site that still knows of the group hears of its end with its first heartbeat, before it may ask",
  },
  {
    name: "pair: a released group is granted to the other site, which takes no word of the end",
    rule: "release",
    changes: [
      ...one("witness-grant.ts", ...grantReleased),
      ...one("agent-renew.ts", "    releasedByRefusal(d, ack.refusal, ack.cert);\n", ""),
    ],
    scenarios: ["hole-release-old-record"],
  },
  {
    name: "a released group is promised as before",
    rule: "release",
    changes: one(
      "witness-release.ts",
      "if (!state.record.released) return null;",
      "if (state.record.cert !== null) return null;",
    ),
    scenarios: ["hole-release-old-holder"],
  },
  {
    name: "a new group is bound by the old one's certificates",
    rule: "release: what was let go of counts for nothing",
    changes: one("agent-draft.ts", "if (released !== null && !isNewer(cert, released)) return;", ""),
    scenarios: ["case-delete-create", "hole-delete-create-at-once"],
  },
  {
    name: "a deleted group is taken over",
    rule: "release: the standby has the end on its disk",
    changes: one(
      "agent-acquire.ts",
      "if (s.record.cert === null || s.ending) return null;",
      "if (s.record.cert === null) return null;",
    ),
    scenarios: ["hole-ended-no-takeover"],
  },
  {
    name: "guards are not told of the end",
    rule: "release: nothing is gated any more",
    changes: one(
      "guard.ts",
      'if (answer.verdict === "released") return',
      'if (answer.verdict === "released" && now < 0) return',
    ),
    scenarios: ["case-delete-guards-restart", "case-delete"],
  },
  {
    name: "what nobody asked for goes on",
    rule: "R2: a process that may not run the group stops it once",
    changes: one("agent.ts", "if (asked || record.cert === null", "if (d.now >= 0 || record.cert === null"),
    scenarios: ["hole-return-unguarded-deaf"],
  },
  {
    name: "a guard that is new learns from what it cannot use",
    rule: "R7: fail closed",
    changes: one("guard.ts", 'if (!isUsable && state.mode === "open") return judged;', ""),
    scenarios: ["hole-new-guard-slow"],
    equivalent: "no pod is placed beside a guard that does not know of the group; see the pair",
  },
  {
    name: "pair: a guard that is new learns from what it cannot use, and pods are placed beside it",
    rule: "R7: fail closed",
    changes: [...one("guard.ts", 'if (!isUsable && state.mode === "open") return judged;', ""), ...placedAnywhere],
    scenarios: ["hole-new-guard-slow", "hole-new-guard-after-lease"],
  },
  {
    name: "a guard that is new waits with an agent that is",
    rule: "R7: fail closed",
    changes: one("agent-guards.ts", 'isNewTo(s, poll) && !isAsking(s, now) ? "deny" : "wait"', '"wait"'),
    scenarios: ["hole-new-guard-unknown"],
    equivalent: "no pod is placed beside a guard that does not know of the group; see the pair",
  },
  {
    name: "pair: a guard that is new waits with an agent that is, and pods are placed beside it",
    rule: "R7: fail closed",
    changes: [
      ...one("agent-guards.ts", 'isNewTo(s, poll) && !isAsking(s, now) ? "deny" : "wait"', '"wait"'),
      ...placedAnywhere,
    ],
    scenarios: ["hole-new-guard-unknown"],
  },
  {
    name: "a target promises under the epoch of a seal that it has",
    rule: "R4: nothing is promised under a sealed epoch",
    changes: one("agent-renew.ts", ...promiseSealed),
    scenarios: ["hole-restored-after-seal"],
    equivalent: "what the target has said of that seal is not fresh when its promise is in force; see the pair",
  },
  {
    name: "pair: a target promises under the epoch of a seal that it has, and what has lain at the witness counts, also of one that was away",
    rule: "R4 with R3",
    changes: [...one("agent-renew.ts", ...promiseSealed), ...lainThere, ...awayTarget],
    scenarios: ["hole-restored-after-seal"],
  },
  {
    name: "to whom was promised is not durable",
    rule: "R4: nothing is promised under a sealed epoch",
    changes: one(
      "agent-renew.ts",
      "promiseMs > promiseMsMax || renew.incarnation > promisedTo",
      "promiseMs > promiseMsMax",
    ),
    scenarios: ["hole-seal-write-lost"],
  },
  {
    name: "the seal of a process that was followed is taken",
    rule: "R4: nothing is promised under a sealed epoch",
    changes: one("agent-switch.ts", "knownIncarnation(s)", "(s.peer?.incarnation ?? 0)"),
    scenarios: ["hole-seal-late"],
  },
  {
    name: "a void drops whatever seal is here",
    rule: "a void is of one switchover",
    changes: one("agent-switch.ts", " && seq > incoming.sinceSeq", ""),
    scenarios: ["hole-void-late"],
  },
  {
    name: "what was to be called off outlives its epoch",
    rule: "after CaughtUp only the witness aborts",
    changes: one("agent-acquire.ts", 'incoming: null, aborting: "", lastRefusal', "incoming: null, lastRefusal"),
    scenarios: ["hole-abort-committed"],
  },
  {
    name: "a person waits for a seal that cannot be completed",
    rule: "R8: a person's order",
    changes: one("agent-acquire.ts", " || s.incoming?.verified === false)", " || s.policy === null)"),
    scenarios: ["hole-seal-incomplete"],
  },
  {
    name: "a second seal is taken for verified with the first",
    rule: "I6: every hash is compared",
    changes: one("agent.ts", "      d.set({ incoming: null });\n      return;\n", "      return;\n"),
    scenarios: ["hole-seal-after-seal"],
  },
  {
    name: "a failover does not wait for what is on its way",
    rule: "R8: a failover of a source that answers is a switchover",
    changes: one("agent-acquire.ts", "now - s.peer.heardAtMs <= timing.leaseMs", "now < 0"),
    scenarios: ["hole-seal-on-its-way"],
  },
  {
    name: "a lower incarnation than was promised to is promised to",
    rule: "R5: incarnations",
    changes: one("agent-renew.ts", "knownIncarnation(d.s)", "(last?.incarnation ?? 0)"),
    scenarios: ["hole-lower-incarnation"],
  },
  {
    name: "what was to be called off outlives a forced epoch",
    rule: "after CaughtUp only the witness aborts",
    changes: one("agent-commands.ts", ' aborting: "",', ""),
    scenarios: ["hole-abort-forced"],
  },
  {
    name: "a paused standby takes over",
    rule: "a person's pause",
    changes: one(
      "agent-acquire.ts",
      's.policy.automatic && !s.record.paused ? "takeover"',
      's.policy.automatic ? "takeover"',
    ).concat(one("agent-draft.ts", "!record.paused && peer?.paused !== true", "!record.paused")),
    scenarios: ["case-paused-at-standby"],
  },
  {
    name: "an adoption that is asked for again is stopped",
    rule: "R2: nothing is stopped before the first grant",
    changes: one("agent.ts", "return !phase.ungated;", 'return phase.kind !== "adopt";'),
    scenarios: ["hole-sleeper-ends-new-group"],
  },
  {
    name: "an end that the witness has forgotten bars the next group of its name",
    rule: "release",
    changes: one("agent-acquire.ts", " && !isEndForgotten(s)", ""),
    scenarios: ["hole-end-forgotten"],
  },
  {
    name: "a guard that stops what it never gated counts as bound while that dies",
    rule: "S: the stop is waited for",
    changes: one("agent-draft.ts", "|| report.isDown", '|| report.mode === "fenced"'),
    scenarios: ["hole-stopped-late"],
  },
  {
    name: "pods are placed where a guard is, whatever it knows of the group",
    rule: "coverage: every guard",
    changes: placedAnywhere,
    scenarios: ["hole-new-guard-after-lease"],
  },
  {
    name: "who asks for what runs ungated says that it asks",
    rule: "R2: nothing is stopped before the first grant",
    changes: one(
      "agent-draft.ts",
      'phase.type === "Acquiring" && phase.ungated ? "Adopting" : phase.type',
      "phase.type",
    ),
    scenarios: ["hole-adopting-asks"],
    equivalent: "whoever asks for what runs ungated is not armed; see the pair",
  },
  {
    name: "pair: who asks for what runs ungated says that it asks, and is armed",
    rule: "R2: nothing is stopped before the first grant",
    changes: [
      ...one("agent-draft.ts", 'phase.type === "Acquiring" && phase.ungated ? "Adopting" : phase.type', "phase.type"),
      ...one("agent-draft.ts", '(phase.type === "Acquiring" && !phase.ungated)', 'phase.type === "Acquiring"'),
    ],
    scenarios: ["hole-adopting-asks"],
  },
  {
    name: "a first grant that never arrived may be taken over",
    rule: "R2: nothing is stopped before the first grant",
    changes: one(
      "witness-grant.ts",
      'state.heard[holder]?.state === "Adopting"',
      'state.heard[holder]?.state === "Adopting" && state.unclaimed === null',
    ),
    scenarios: ["hole-adopting-moved"],
  },
  {
    name: "a measured stop is promised as it is",
    rule: "timing 3",
    changes: one("agent-draft.ts", "guardMsFor(timing, stopBoundMs)", "stopBoundMs"),
    scenarios: ["hole-slow-stop"],
  },
  {
    name: "a guard's longer stop counts only once the site has counted it",
    rule: "timing 3",
    changes: uncountedStop,
    scenarios: ["hole-slow-stop-unreviewed"],
    equivalent: "the copy that such a guard is given ends earlier by as much; see the pair",
  },
  {
    name: "pair: a guard's longer stop counts only once the site has counted it, and its copy is as before",
    rule: "timing 3",
    changes: [...uncountedStop, ...sameCopy],
    scenarios: ["hole-slow-stop-unreviewed"],
  },
  {
    name: "the answer to a slower guard is a copy as before",
    rule: "timing 3",
    changes: sameCopy,
    scenarios: ["hole-slow-first-stop"],
  },
  {
    name: "a standby that was away takes over",
    rule: "R2: hear the other site",
    changes: one("witness-grant.ts", "asks.sinceMs >= (other.echoMs ?? -Infinity)", "asks.sinceMs < 0"),
    scenarios: ["hole-forced-while-away"],
  },
  {
    name: "a target that was away is committed",
    rule: "R2: hear the other site",
    changes: awayTarget,
    scenarios: ["hole-forced-sealed"],
  },
  {
    name: "what lay at the witness is heard when it is read",
    rule: "R2: hear the other site",
    changes: one("witness-grant.ts", "asks.sinceMs >= (other.echoMs ?? -Infinity)", "asks.sinceMs > other.atMs"),
    scenarios: ["hole-heard-late"],
  },
  {
    name: "a forced site waits for the witness's word on where its pods may be",
    rule: "L1: what a person has forced runs",
    changes: one("agent-guards.ts", "(!holdsCert(s) || isLeaseFree(s) ||", "(!holdsCert(s) ||"),
    scenarios: ["case-forced-without-guards"],
  },
  {
    name: "a forced epoch is learnt like any other",
    rule: "R6: a veto on every way to Active elsewhere",
    changes: one("witness.ts", 'cert.epoch.forcedBy === "" ? null', "cert.epoch.counter > 0 ? null").concat(
      one("agent-acquire.ts", "seen.epoch.forcedBy === s.config.peer", "seen.epoch.counter < 0"),
    ),
    scenarios: ["hole-forced-learnt"],
  },
  {
    name: "a new witness waits for what it is asked for now",
    rule: "a boot waits for the longest promise",
    changes: one("witness.ts", "Math.max(promiseMs, message.longestMs)", "promiseMs"),
    scenarios: ["hole-shorter-policy"],
  },
  {
    name: "a veto is not known to be of a later process",
    rule: "R6: lifted by the holder",
    changes: one("witness-draft.ts", "record.veto?.site === site ? record.veto.incarnation : 0", "0"),
    scenarios: ["hole-veto-above"],
  },
  {
    name: "the witness commits on what has lain there",
    rule: "R3: a fresh echo",
    changes: lainThere,
    scenarios: ["hole-seal-stale"],
  },
  {
    name: "a deleted group is moved before it ends",
    rule: "release",
    changes: one("agent.ts", 'event.ending && d.s.phase.type === "Quiescing"', "event.type === null"),
    scenarios: [],
    seeds: { mode: "dense", count: 1, from: 2012900 },
  },
];

/** The reducers with the mutant's changes, and a way to remove the copy. */
export async function loadMutant(mutant: Mutant): Promise<{ reducers: Reducers; remove: () => void }> {
  const root = mkdtempSync(join(tmpdir(), "lifeboat-mutant-"));
  const folder = join(root, "failover");
  cpSync(sourceFolder, folder, { recursive: true, filter: (path) => !path.includes("/runner") });
  cpSync(join(dirname(sourceFolder), "errors.ts"), join(root, "errors.ts"));
  cpSync(join(dirname(sourceFolder), "objects/epoch.ts"), join(root, "objects/epoch.ts"));
  writeFileSync(join(root, "package.json"), '{"type":"module"}');
  for (const { file, find, put } of mutant.changes) {
    const path = join(folder, file);
    const text = readFileSync(path, "utf8");
    const found = text.split(find).length - 1;
    if (found !== 1) throw new Error(`mutant "${mutant.name}": ${file} has its text ${found} times: ${find}`);
    writeFileSync(
      path,
      text.replace(find, () => put),
    );
  }
  const reducers = await loadReducers(folder);
  return { reducers, remove: () => rmSync(root, { recursive: true, force: true }) };
}
