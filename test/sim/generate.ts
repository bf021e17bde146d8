/** From a seed to a list of faults. Everything random about *which* faults happen is drawn here, up front. */
import type { FenceCap } from "../../src/failover/messages.ts";
import { generateDense } from "./dense.ts";
import { Random } from "./random.ts";
import type { Entry, Fault, Plan } from "./faults.ts";
import { drawLink } from "./network.ts";
import { defaultOptions, nodesPerSite } from "./options.ts";
import type { Mode, SiteKey, WorldOptions } from "./options.ts";

const SETTLE_MS = 6000;
const HEAL_AT_MS = 50_000;

export function generate(seed: number, mode: Mode): Plan {
  if (mode === "dense") return generateDense(seed);
  const random = new Random(seed ^ 0x5f3759df);
  const groups = random.chance(0.08) ? 2 : 1;
  const cooldownMs = random.pick([0, 0, 20_000]);
  const fenceCap = random.chance(0.06) ? "api" : "guard";
  const options: WorldOptions = { ...defaultOptions, seed, mode, groups, cooldownMs, fenceCap };
  const entries: Entry[] = [];
  const count = 1 + random.integer(6);
  // Faults come in bursts: two things at once, or one while the group is on its way because of another.
  let at = SETTLE_MS + random.between(0, 8000);
  for (let i = 0; i < count; i++) {
    const fault = draw(random, mode);
    // Without guards nothing here speaks of what guards do, and what the API server starts by itself nobody stops.
    const pointless = fenceCap === "api" && (fault.kind === "fence-cap" || fault.kind === "api-restore");
    if (!pointless) entries.push({ atMs: Math.round(at), fault });
    // People create again what they have deleted, soon or late.
    if (fault.kind === "delete" && random.chance(0.7)) {
      const again: Fault = { kind: "create", site: fault.site };
      entries.push({ atMs: Math.round(at + duration(random)), fault: again });
    }
    at += random.chance(0.5) ? random.between(0, 3000) : random.between(2000, 14_000);
    if (at > HEAL_AT_MS - 2000) break;
  }
  const healAtMs = Math.round(Math.min(HEAL_AT_MS, Math.max(at + 12_000, 25_000)));
  return { options, entries: [...entries, ...drawRare(seed, fenceCap, healAtMs)], healAtMs };
}

/** Share of the histories with a rare fault among the others. */
const RARE_CHANCE = 0.1;

/** Drawn from a sequence of its own: a history without one is what it was before there were any. */
function drawRare(seed: number, fenceCap: FenceCap, healAtMs: number): Entry[] {
  const random = new Random(seed ^ 0x2545f491);
  if (!random.chance(RARE_CHANCE)) return [];
  const atMs = Math.round(random.between(SETTLE_MS, healAtMs - 2000));
  const laterMs = Math.round(atMs + duration(random));
  const site: SiteKey = random.pick(["east", "east", "west"]);
  const index = random.integer(nodesPerSite);
  const joins: Entry = { atMs, fault: { kind: "node-unguarded", site } };
  const slow: Fault = {
    kind: "node-slow",
    site,
    index,
    ms: Math.round(random.between(50, 3000)),
    forMs: duration(random),
  };
  const found: [Entry[], ...Entry[][]] = [
    [joins],
    [joins, { atMs: laterMs, fault: { kind: "node-guard", site, index: nodesPerSite } }],
    [{ atMs, fault: slow }],
    // What is lost shows to a process that begins only.
    [
      { atMs, fault: { kind: "note-lost", site } },
      { atMs, fault: { kind: "leader-crash", site, forMs: 300 } },
    ],
    [
      { atMs, fault: { kind: "pause", site } },
      { atMs: laterMs, fault: { kind: "resume", site } },
    ],
  ];
  // Where nothing but the API server stops pods there are no guards.
  const [, , ...others] = found;
  return fenceCap === "guard" ? random.pick(found) : random.pick([[joins], ...others]);
}

function duration(random: Random): number {
  return Math.round(random.pick([random.between(200, 2000), random.between(2000, 9000), random.between(8000, 30_000)]));
}

function draw(random: Random, mode: Mode): Fault {
  const site: SiteKey = random.pick(["east", "east", "west"]);
  const forMs = duration(random);
  const index = random.integer(nodesPerSite);
  const { from, to } = drawLink(random);
  const at: SiteKey = random.pick(["east", "west"]);
  const target: SiteKey = random.pick(["east", "west", "west"]);
  const frozen: Fault[] = [
    { kind: "node-freeze", site, index, forMs },
    { kind: "node-freeze", site, index: random.integer(2), forMs: Math.round(random.between(50, 900)) },
    { kind: "node-freeze", site, index: random.integer(2), forMs },
    { kind: "witness-freeze", forMs },
  ];
  if (mode === "frozen" && random.chance(0.4)) return random.pick(frozen as [Fault]);
  const faults: [Fault, ...Fault[]] = [
    { kind: "cut", from, to, forMs },
    { kind: "cut-both", from, to, forMs },
    { kind: "isolate", site, forMs },
    { kind: "isolate", site, forMs: Math.round(random.between(9000, 25_000)) },
    { kind: "deaf", site, forMs },
    { kind: "mute", site, forMs },
    { kind: "delay", from, to, ms: Math.round(random.between(50, 3000)), forMs },
    { kind: "loss", from, to, share: random.between(0.1, 0.9), forMs },
    { kind: "site-off", site, forMs },
    { kind: "site-off", site, forMs: Math.round(random.between(9000, 25_000)) },
    { kind: "node-reboot", site, index, forMs },
    { kind: "node-cut", site, index, forMs },
    { kind: "agent-crash", site, index: random.integer(2), forMs },
    { kind: "agent-pause", site, index: random.integer(2), forMs },
    { kind: "leader-crash", site, forMs },
    { kind: "leader-pause", site, forMs },
    { kind: "guard-crash", site, index, forMs },
    { kind: "api-down", site, forMs },
    { kind: "api-restore", site },
    { kind: "witness-off", forMs },
    { kind: "witness-off", forMs: 300 },
    { kind: "witness-pause", forMs },
    { kind: "witness-backup" },
    { kind: "witness-rollback", clockBackS: random.pick([0, 30, 100_000]) },
    { kind: "witness-lose-disk" },
    { kind: "witness-second", forMs },
    { kind: "policy", profile: random.pick(["test", "fast", "test"]) },
    { kind: "fence-cap", site, cap: random.pick(["api", "guard"]) },
    { kind: "failover", to: target, at },
    { kind: "switchover", to: target, at },
    { kind: "switchover", to: target, at },
    { kind: "force-fenced", site: random.pick(["west", "east", "west"]) },
    { kind: "abort", site },
    { kind: "pause", site },
    { kind: "delete", site },
    { kind: "delete", site },
  ];
  return random.pick(faults);
}
