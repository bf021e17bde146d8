/**
 * From a seed to a history in which everything happens at once: a move of the group, and two to six faults within
 * seconds of it. Evenly drawn histories hardly ever have three faults in the second in which a move is decided, and that
 * is where rules meet that nobody has thought of together.
 */
import type { Entry, Fault, Plan } from "./faults.ts";
import { drawLink } from "./network.ts";
import { defaultOptions } from "./options.ts";
import type { SiteKey, WorldOptions } from "./options.ts";
import { Random } from "./random.ts";

const SETTLE_MS = 6000;
/** Between two faults of a burst, at most: about as long as a switchover takes. */
const STEP_MAX_MS = 2200;
/** A site that is gone is followed within this time, with the timing of `test`. */
const TAKEOVER_MS = 9000;

export function generateDense(seed: number): Plan {
  const random = new Random(seed ^ 0x3c6ef372);
  const fenceCap = random.chance(0.1) ? "api" : "guard";
  const options: WorldOptions = { ...defaultOptions, seed, mode: "dense", fenceCap };
  const entries = drawMove(random, SETTLE_MS + random.between(0, 3000));
  let at = entries.at(-1)?.atMs ?? 0;
  if (random.chance(0.5)) at = entries[0]?.atMs ?? at;
  const first = entries[0]?.fault.kind;
  // What a dead or cut off site sets off comes late, and so does its return.
  if (first === "site-off" || first === "isolate")
    at += random.pick([random.between(0, TAKEOVER_MS), lengthOf(entries[0])]);
  const count = 2 + random.integer(5);
  for (let i = 0; i < count; i++) {
    at += random.between(0, STEP_MAX_MS);
    const fault = draw(random);
    // Without guards nobody stops what the API server starts by itself.
    if (fenceCap === "guard" || fault.kind !== "api-restore") entries.push({ atMs: Math.round(at), fault });
  }
  const last = Math.max(...entries.map(({ atMs }) => atMs));
  return { options, entries: entries.toSorted((a, b) => a.atMs - b.atMs), healAtMs: last + 15_000 };
}

function lengthOf(entry: Entry | undefined): number {
  return entry !== undefined && "forMs" in entry.fault ? entry.fault.forMs : 0;
}

function drawMove(random: Random, startMs: number): Entry[] {
  const atMs = Math.round(startMs);
  const forMs = Math.round(random.between(9000, 25_000));
  const laterMs = Math.round(atMs + random.between(100, 6000));
  const site: SiteKey = random.pick(["east", "east", "west"]);
  const switchover: Entry = { atMs, fault: { kind: "switchover", to: "west", at: site } };
  const found: [Entry[], ...Entry[][]] = [
    [switchover],
    [switchover],
    [switchover, { atMs: laterMs, fault: { kind: "switchover", to: "east", at: site } }],
    [{ atMs, fault: { kind: "site-off", site: "east", forMs } }],
    [{ atMs, fault: { kind: "isolate", site: "east", forMs } }],
    [{ atMs, fault: { kind: "failover", to: "west", at: "west" } }],
    [{ atMs, fault: { kind: "delete", site: "east" } }],
    [
      { atMs, fault: { kind: "delete", site: "east" } },
      { atMs: laterMs, fault: { kind: "create", site: "east" } },
    ],
  ];
  return random.pick(found);
}

function draw(random: Random): Fault {
  const site: SiteKey = random.pick(["east", "west"]);
  const other: SiteKey = random.pick(["east", "west"]);
  const { from, to } = drawLink(random);
  const forMs = Math.round(random.between(500, 10_000));
  const longerMs = Math.round(random.between(1000, 20_000));
  return random.pick<Fault>([
    { kind: "api-restore", site },
    { kind: "api-restore", site: "east" },
    { kind: "leader-crash", site, forMs },
    { kind: "leader-pause", site, forMs: Math.round(random.between(1000, 15_000)) },
    { kind: "witness-pause", forMs },
    { kind: "witness-off", forMs },
    { kind: "witness-rollback", clockBackS: random.integer(30) },
    { kind: "cut", from, to, forMs: longerMs },
    { kind: "cut-both", from, to, forMs: longerMs },
    { kind: "delay", from, to, ms: Math.round(random.between(50, 12_000)), forMs },
    { kind: "abort", site },
    { kind: "switchover", to: other, at: site },
    { kind: "failover", to: other, at: site },
    { kind: "api-down", site, forMs },
    { kind: "site-off", site, forMs: longerMs },
  ]);
}
