import { z } from "zod";
import { LifeboatError } from "../errors.ts";
import type { Cert } from "../failover/epoch.ts";
import type { GuardState } from "../failover/guard.ts";
import type { GuardAnswer, GuardPoll } from "../failover/messages.ts";
import type { TimingInputs } from "../failover/timing.ts";

/**
 * What guards and agents say to each other, and what a guard reads back from its disk, checked before a reducer sees
 * it: half a file or a faulty peer must not bring down the process that stops pods.
 */

/** Version of these messages. Raised when an older guard would misunderstand a newer agent, or the reverse. */
export const guardProtocolVersion = 1;

/** Guard → agent. */
export interface GuardReport {
  readonly node: string;
  readonly polls: readonly GuardPoll[];
  readonly facts: NodeFacts;
}

/** What the node can do about the groups' pods, as measured there. */
export interface NodeFacts {
  /** P: worst lateness of the guard's own timers of late. */
  readonly latenessMs: number;
  /** The kernel cuts the pods' traffic by itself when the guard stops refreshing it. */
  readonly deadMan: boolean;
  /** Pods of groups here that use the node's own network: the kernel cannot cut theirs alone. */
  readonly uncutPods: number;
  /** Pods of stopped groups whose processes survive SIGKILL: they wait for a device or a mount. */
  readonly unkillable: number;
  /** Pods of all groups here that have a process. */
  readonly runningPods: number;
}

/** Agent → guard, one for each report. */
export interface GuardOrders {
  /** All groups of the site. One that is missing is not forgotten by the guard. */
  readonly groups: readonly GuardedGroup[];
  readonly answers: readonly GuardAnswer[];
  /** Groups that have ended in order. */
  readonly released: readonly string[];
}

export interface GuardedGroup {
  readonly name: string;
  readonly namespaces: readonly string[];
  readonly timing: TimingInputs;
  /** By whose word these are all its namespaces; absent where there may be more. */
  readonly complete?: ListProof | undefined;
}

/** What makes a list of namespaces one that something may be missing from: the epoch that it is of, and who says so. */
export interface ListProof {
  readonly cert: Cert;
  /** Of the site's agent. */
  readonly incarnation: number;
}

const textLengthMax = 1024;
/** Namespaces of one group; far above any group that a node has pods of. */
const namespacesMax = 10_000;
/** A guard remembers its last 8 polls. */
const pollsMax = 64;

const text = z.string().max(textLengthMax);
const count = z.int().nonnegative();
const time = z.number();
const cert: z.ZodType<Cert> = z.object({
  epoch: z.object({ generation: count, nonce: text, counter: count, forcedBy: text }),
  holder: text,
  sig: text,
});
const mode = z.enum(["open", "leased", "free", "fenced"]);
const namespaces = z.array(text).max(namespacesMax);

const pollSchema: z.ZodType<GuardPoll> = z.object({
  type: z.literal("GuardPoll"),
  group: text,
  node: text,
  bootId: text,
  seq: count,
  applied: z.int().min(-1),
  mode,
  cert: cert.nullable(),
  incarnation: count,
  stopMs: time.nullable(),
});

const answerSchema: z.ZodType<GuardAnswer> = z.object({
  type: z.literal("GuardAnswer"),
  group: text,
  node: text,
  bootId: text,
  seq: count,
  verdict: z.enum(["open", "hold", "free", "wait", "deny", "released"]),
  cert: cert.nullable(),
  incarnation: count,
  remainingMs: time,
  agentNowMs: time,
  leaseSentAtMs: time,
  reason: text,
});

const timingSchema: z.ZodType<TimingInputs> = z
  .object({
    rho: time,
    heartbeatMs: time,
    leaseMs: time,
    tickMs: time,
    latenessMs: time,
    stopMs: time,
    epsilonMs: time,
    requestMs: time,
    roundTripMs: time,
    electionMs: time,
    guardMs: time.optional(),
  })
  .transform(({ guardMs, ...inputs }) => (guardMs === undefined ? inputs : { ...inputs, guardMs }));

export const recordSchema: z.ZodType<GuardState["record"]> = z.object({
  group: text,
  namespaces,
  cert: cert.nullable(),
  incarnation: count,
  known: z.boolean(),
});

/** A saved state; its timing by the figures that all others are derived from. */
export const stateSchema: z.ZodType<Omit<GuardState, "timing"> & { readonly timing: TimingInputs }> = z.object({
  node: text,
  bootId: text,
  record: recordSchema,
  mode,
  untilMs: time,
  reason: text,
  seq: count,
  applied: z.int().min(-1),
  polls: z.array(z.tuple([count, time]).readonly()).max(pollsMax),
  baseline: z.object({ incarnation: count, offsetMs: time, atMs: time }).nullable(),
  distrustMs: time.nullable(),
  stopMs: time.nullable(),
  killedAtMs: time.nullable(),
  nextPollAtMs: time,
  timing: timingSchema,
});

const proofSchema: z.ZodType<ListProof> = z.object({ cert, incarnation: count });

export const parsePoll = parser("a guard's poll", pollSchema);
export const parseAnswer = parser("an answer to a guard", answerSchema);
export const parseTiming = parser("a group's timing", timingSchema);
export const parseProof = parser("the proof of a group's namespaces", proofSchema);

function parser<T>(what: string, schema: z.ZodType<T>): (json: string) => T {
  return (json) => {
    try {
      return schema.parse(JSON.parse(json));
    } catch (cause) {
      throw new LifeboatError("PeerVersion", `${what} is malformed`, {
        op: "guard.decode",
        hint: "guard and agent are of different versions, or one of them is faulty",
        cause,
      });
    }
  };
}
