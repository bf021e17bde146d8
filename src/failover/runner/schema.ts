import { z } from "zod";
import { LifeboatError } from "../../errors.ts";
import type { SiteRecord } from "../agent-state.ts";
import type { Cert, Epoch } from "../epoch.ts";
import type {
  FromWitness,
  PeerMessage,
  Readiness,
  Refusal,
  RefusalCode,
  Seal,
  SiteState,
  Stamp,
  ToWitness,
} from "../messages.ts";
import type { WitnessGroupRecord } from "../witness-state.ts";

/**
 * The protocol's messages and records as they come from the wire and the disk. A reducer is never handed anything
 * that was not read through here: a message of another version or of a faulty peer must not bring a process down.
 * Unknown fields are dropped, so that a newer peer may add some.
 */

/** Names, nonces, ids and reasons; the longest are refusal reasons. */
const textLengthMax = 1024;
/** Volumes of one group, switchovers called off, nonces: far above what a reducer keeps. */
const listMax = 1000;

const text = z.string().max(textLengthMax);
const count = z.int().nonnegative();
/** A reading of a clock or a duration; fractions of a millisecond occur. */
const time = z.number();

const epoch: z.ZodType<Epoch> = z.object({ generation: count, nonce: text, counter: count, forcedBy: text });
const cert: z.ZodType<Cert> = z.object({ epoch, holder: text, sig: text });
const maybeCert = cert.nullable();
const stamp: z.ZodType<Stamp> = z.object({ by: text, timeMs: time });
const maybeStamp = stamp.nullable();
const fenceCap = z.enum(["guard", "storage", "api", "none"]);
const readiness: z.ZodType<Readiness> = z.enum(["Syncing", "Ready", "Stale"]);
const siteState: z.ZodType<SiteState> = z.enum([
  "Adopting",
  "Unknown",
  "Standby",
  "Acquiring",
  "Active",
  "Fenced",
  "Quiescing",
  "Sealed",
  "Released",
  "Blocked",
]);
const acquireKind = z.enum(["adopt", "takeover", "manual", "resume", "unseal"]);

/** A code that this version does not know is kept: it is only shown and never branched on without a default. */
const refusal: z.ZodType<Refusal> = z.object({
  code: text.transform((code) => code as RefusalCode),
  reason: text,
  retryInMs: time.nullable(),
});
const maybeRefusal = refusal.nullable();

const sealedVolume = z.object({ generation: count, hash: text });
const volumes = z
  .record(text, sealedVolume)
  .refine((entries) => Object.keys(entries).length <= listMax, { message: "too many volumes" });
const seal: z.ZodType<Seal> = z.object({ opId: text, cert, objectsRevision: text, objectsHash: text, volumes });

/** Fields of everything that a site says to a grantor. */
const spoken = { group: text, site: text, incarnation: count, seq: count };
const promise = { leaseMs: time, guardMs: time };

const renew = z.object({
  type: z.literal("Renew"),
  ...spoken,
  peer: text,
  cert: maybeCert,
  state: siteState,
  warm: z.boolean(),
  disarm: z.enum(["no", "keep", "ask", "held"]),
  armed: z.boolean(),
  ready: readiness,
  lagMs: time.nullable(),
  obstacle: text.default(""),
  paused: z.boolean().default(false),
  fenceCap,
  stopBoundMs: time,
  longestMs: time.default(0),
  generation: count,
  echo: maybeStamp,
  ...promise,
  opId: text,
});

const renewAck = z.object({
  type: z.literal("RenewAck"),
  group: text,
  from: text,
  incarnation: count,
  seq: count,
  ok: z.boolean(),
  refusal: maybeRefusal,
  cert: maybeCert,
  generation: count,
  ...promise,
  disarmRecorded: z.boolean(),
  seesReadyPeer: z.boolean(),
  hearsOther: z.boolean().default(true),
  seesWitness: z.boolean(),
  fenceCap,
  incarnationSeen: count,
  op: z.enum(["none", "open", "voided", "committed"]),
  stamp,
});

const acquire = z.object({
  type: z.literal("Acquire"),
  ...spoken,
  kind: acquireKind,
  cert: maybeCert,
  nonce: text,
  echo: maybeStamp,
  ready: readiness,
  lagMs: time.nullable(),
  silentMs: time,
  maxLagMs: time,
  cooldownMs: time,
  unproven: z.boolean(),
  recoveryPoint: text,
  ...promise,
  opId: text,
});

const grant = z.object({
  type: z.literal("Grant"),
  group: text,
  nonce: text,
  seq: count,
  kind: acquireKind,
  cert,
  ...promise,
  stamp,
});

const acquireRefused = z.object({
  type: z.literal("AcquireRefused"),
  group: text,
  nonce: text,
  refusal,
  cert: maybeCert,
  stamp,
});

const switchAsk = z.object({ type: z.literal("SwitchAsk"), group: text, opId: text, to: text, cert: maybeCert });

const switchPrepare = z.object({
  type: z.literal("SwitchPrepare"),
  ...spoken,
  opId: text,
  to: text,
  cert: maybeCert,
  echo: maybeStamp,
});

const switchPrepared = z.object({ type: z.literal("SwitchPrepared"), group: text, opId: text, stamp });

const switchRefused = z.object({
  type: z.literal("SwitchRefused"),
  group: text,
  opId: text,
  refusal,
  cert: maybeCert,
});

const sealed = z.object({ type: z.literal("Sealed"), group: text, site: text, incarnation: count, seal });

const caughtUp = z.object({
  type: z.literal("CaughtUp"),
  ...spoken,
  opId: text,
  nonce: text,
  cert: maybeCert,
  echo: maybeStamp,
  ...promise,
});

const commit = z.object({
  type: z.literal("Commit"),
  group: text,
  opId: text,
  nonce: text,
  seq: count,
  cert,
  ...promise,
  stamp,
});

const abort = z.object({ type: z.literal("Abort"), ...spoken, opId: text, reason: text });
const release = z.object({ type: z.literal("Release"), ...spoken, cert: maybeCert });
const released = z.object({ type: z.literal("Released"), group: text, cert: maybeCert });

const toWitness: z.ZodType<ToWitness> = z.discriminatedUnion("type", [
  renew,
  acquire,
  switchPrepare,
  caughtUp,
  abort,
  release,
]);
const fromWitness: z.ZodType<FromWitness> = z.discriminatedUnion("type", [
  renewAck,
  grant,
  acquireRefused,
  switchPrepared,
  switchRefused,
  commit,
  released,
]);
const peerMessage: z.ZodType<PeerMessage> = z.discriminatedUnion("type", [
  renew,
  renewAck,
  switchAsk,
  switchRefused,
  sealed,
]);

/** What a site keeps of a group. */
export const siteRecordSchema: z.ZodType<SiteRecord> = z.object({
  incarnation: count,
  cert: maybeCert,
  disarm: z.object({ by: z.enum(["witness", "peer", "person"]) }).nullable(),
  veto: z.object({ incarnation: count }).nullable(),
  promiseMsMax: time,
  // Absent from records of earlier versions, as `released` is.
  promisedTo: count.default(0),
  seal: seal.nullable(),
  incoming: seal.nullable(),
  voided: z.array(text).max(listMax),
  usedNonces: z.array(text).max(listMax),
  paused: z.boolean(),
  divergence: z.object({ cert, saved: z.boolean() }).nullable(),
  released: maybeCert.default(null),
});

/** What the witness keeps of a group. */
export const witnessRecordSchema: z.ZodType<WitnessGroupRecord> = z.object({
  group: text,
  sites: z.tuple([text, text]),
  cert: maybeCert,
  veto: z.object({ site: text, incarnation: count }).nullable(),
  switching: z.object({ opId: text, from: text, to: text, incarnation: count, seq: count }).nullable(),
  voided: z.array(text).max(listMax),
  committed: z.object({ opId: text, cert }).nullable(),
  promiseMsMax: time,
  automaticAtUnixMs: time.nullable(),
  released: z.boolean(),
});

/** Each throws ConfigInvalid on a text that is no such message. */
export const decodeToWitness = (payload: string): ToWitness => decode(toWitness, payload);
export const decodeFromWitness = (payload: string): FromWitness => decode(fromWitness, payload);
export const decodePeerMessage = (payload: string): PeerMessage => decode(peerMessage, payload);

function decode<Message>(schema: z.ZodType<Message>, payload: string): Message {
  try {
    return schema.parse(JSON.parse(payload));
  } catch (cause) {
    const message = cause instanceof z.ZodError ? z.prettifyError(cause) : "it is no JSON";
    throw new LifeboatError("ConfigInvalid", `not a message of the failover protocol: ${message}`, {
      op: "failover.decode",
      cause,
    });
  }
}
