/** Whether the witness grants: every rule that a new epoch has to pass, each with the reason a person will read. */
import { compareCert, formatCert } from "./epoch.ts";
import type { SiteName } from "./epoch.ts";
import type { Acquire, Refusal, RefusalCode, SiteState } from "./messages.ts";
import { isFreshEcho } from "./timing.ts";
import type { Heard, WitnessGroup, WitnessInstance } from "./witness-state.ts";

export interface GrantDecision {
  readonly refused: Refusal | null;
  /** A resume that now waits to hear the other site. */
  readonly asked: WitnessGroup["asked"];
  /** An open switchover is called off first. */
  readonly voids: boolean;
}

export function refusal(code: RefusalCode, reason: string, retryInMs: number | null = null): Refusal {
  return { code, reason, retryInMs };
}

export function otherSite(state: WitnessGroup, site: SiteName): SiteName {
  const [first, second] = state.record.sites;
  return first === site ? second : first;
}

/** Until both sites have shown, in this generation, that they hear this instance, it says yes to nothing. */
export function recovering(state: WitnessGroup): boolean {
  return state.record.sites.some((site) => state.heard[site]?.proven !== true);
}

/** The other site was heard within `windowMs` and is Ready. */
export function seesReady(state: WitnessGroup, site: SiteName, now: number, windowMs: number): boolean {
  return hearsOther(state, site, now, windowMs) && state.heard[otherSite(state, site)]?.ready === "Ready";
}

/** Whether the site's peer was heard within this time. */
export function hearsOther(state: WitnessGroup, site: SiteName, now: number, windowMs: number): boolean {
  const other = state.heard[otherSite(state, site)];
  return other !== undefined && now - other.atMs <= windowMs;
}

/** An open switchover may be called off by the witness itself after this many leases without its source. */
const SWITCH_TIMEOUT_LEASES = 4;

export function decideGrant(
  state: WitnessGroup,
  instance: WitnessInstance,
  message: Acquire,
  now: number,
): GrantDecision {
  const no = (refused: Refusal): GrantDecision => ({ refused, asked: null, voids: false });
  const common = commonRefusal(state, instance, message, now);
  if (common !== null) return no(common);
  const { holder } = state.record.cert ?? { holder: "" };
  if (message.kind === "adopt") {
    return state.record.cert === null || state.record.released
      ? { refused: null, asked: null, voids: false }
      : no(refusal("NotHolder", `the group is held: ${formatCert(state.record.cert)}`));
  }
  if (state.record.cert === null) return no(refusal("NotHolder", "the group has never been granted to anyone"));
  // Its last holder, where it goes on ungated, may begin anew; anybody else would be a second one.
  if (state.record.released && holder !== message.site) return no(refusal("Released", "the group was deleted"));
  if (isLostGrant(state, message)) return { refused: null, asked: null, voids: false };
  const wait = bootWaitRefusal(state, instance, now);
  if (wait !== null) return no(wait);
  if (holder === message.site) return decideResume(state, message, now);
  return message.kind === "takeover" || message.kind === "manual"
    ? decideTakeover(state, message, now, instance)
    : no(refusal("OlderEpoch", `the group has moved on to ${formatCert(state.record.cert)}`));
}

function commonRefusal(state: WitnessGroup, instance: WitnessInstance, message: Acquire, now: number): Refusal | null {
  if (state.blocked !== null) return refusal("Conflict", state.blocked);
  if (recovering(state)) return refusal("Recovering", "the witness has not heard from both sites yet");
  if (!isFreshEcho(message.echo, instance.by, now, message.leaseMs)) {
    return refusal("NoEcho", `${message.site} has not shown that it hears the witness now`);
  }
  if (
    compareCert(message.cert, state.record.cert) === "older" &&
    message.kind !== "takeover" &&
    message.kind !== "manual"
  ) {
    if (!(message.kind === "adopt" && state.record.released)) {
      return refusal("OlderEpoch", `the group has moved on to ${formatCert(state.record.cert)}`);
    }
  }
  return null;
}

function bootWaitRefusal(state: WitnessGroup, instance: WitnessInstance, now: number): Refusal | null {
  let waitMs = state.record.promiseMsMax;
  for (const site of state.record.sites) waitMs = Math.max(waitMs, state.heard[site]?.longestMs ?? 0);
  const leftMs = instance.bootedAtMs + waitMs - now;
  return leftMs > 0
    ? refusal(
        "BootWait",
        `the witness started ${Math.round(now - instance.bootedAtMs)} ms ago and waits out older promises`,
        leftMs,
      )
    : null;
}

function decideTakeover(state: WitnessGroup, message: Acquire, now: number, instance: WitnessInstance): GrantDecision {
  const no = (refused: Refusal): GrantDecision => ({ refused, asked: null, voids: false });
  const { record } = state;
  const holder = otherSite(state, message.site);
  if (record.veto !== null) {
    return no(
      refusal("Veto", `${holder} runs without a lease; only a person who knows that it is off can move the group`),
    );
  }
  // Its first grant never arrived, or it began anew while this store forgot that it had let go: nothing there obeys this
  // certificate, and nothing there stops.
  if (state.heard[holder]?.state === "Adopting") {
    return no(refusal("Veto", `${holder} runs it without a gate; if it is off, use force-fenced`));
  }
  // A person may have known the asking site to be off, and forced the holder: that is not to be taken from it now.
  if (wasAway(state, message.site)) {
    const reason = `${holder} may have been forced while ${message.site} was not heard; if it is off, use force-fenced`;
    return no(refusal("Veto", reason));
  }
  const leftMs = state.promiseUntilMs - now;
  if (leftMs > 0)
    return no(refusal("PromiseRuns", `${holder} holds a promise for ${Math.ceil(leftMs)} ms more`, leftMs));
  const voids = record.switching !== null;
  if (voids && now - (state.lastOp?.atMs ?? -Infinity) < message.leaseMs * SWITCH_TIMEOUT_LEASES) {
    return no(refusal("Switching", "a switchover is open; it is called off when it times out", message.leaseMs / 4));
  }
  const fence = fenceRefusal(state.heard[holder], holder, message);
  if (fence !== null) return no(fence);
  const automatic = message.kind === "takeover" ? automaticRefusal(state, message, now, instance) : null;
  return automatic === null ? { refused: null, asked: null, voids } : no(automatic);
}

/**
 * It has not been heard all the time since the other site was: by what that one has shown to have received, since what
 * it has sent may have lain here for as long as this process stood still.
 */
export function wasAway(state: WitnessGroup, site: SiteName): boolean {
  const [asks, other] = [state.heard[site], state.heard[otherSite(state, site)]];
  return asks !== undefined && other !== undefined && asks.sinceMs >= (other.echoMs ?? -Infinity);
}

function fenceRefusal(heard: Heard | undefined, holder: SiteName, message: Acquire): Refusal | null {
  const cap = heard?.fenceCap ?? "none";
  if (cap === "guard" || cap === "storage" || (cap === "api" && message.unproven)) return null;
  const how = cap === "api" ? "only through its API server" : "by nothing";
  return refusal("NoFence", `processes of ${holder} are stopped ${how}; make sure it is off, then use force-fenced`);
}

function automaticRefusal(
  state: WitnessGroup,
  message: Acquire,
  now: number,
  instance: WitnessInstance,
): Refusal | null {
  const holder = otherSite(state, message.site);
  if (!state.armed) return refusal("NotArmed", `automatic failover away from ${holder} is not armed`);
  if (message.ready !== "Ready") return refusal("NotReady", `${message.site} is ${message.ready}`);
  const lagMs = lagOf(state, message, now);
  if (lagMs === null || lagMs > message.maxLagMs) {
    return refusal("LagTooHigh", `${message.site} lags by more than the ${message.maxLagMs} ms allowed`);
  }
  const { automaticAtUnixMs } = state.record;
  if (automaticAtUnixMs === null) return null;
  // A wall clock set back must not make the cooldown longer than it is.
  const sinceMs = Math.max(0, now + instance.unixOffsetMs - automaticAtUnixMs);
  const leftMs = Math.min(message.cooldownMs, message.cooldownMs - sinceMs);
  return leftMs > 0
    ? refusal("Cooldown", `the last automatic failover was ${Math.round(sinceMs / 1000)} s ago`, leftMs)
    : null;
}

/** All rules were passed when it was granted in this generation; it never arrived, so nobody has run on it. */
function isLostGrant(state: WitnessGroup, message: Acquire): boolean {
  const { unclaimed, record } = state;
  if (unclaimed === null || record.veto !== null || record.switching !== null) return false;
  return unclaimed.site === message.site && unclaimed.incarnation === message.incarnation && message.kind === "resume";
}

/** What the standby measured, and what the holder went on doing (seen from here) after it was cut off from it. */
function lagOf(state: WitnessGroup, message: Acquire, now: number): number | null {
  if (message.lagMs === null) return null;
  const holder = state.heard[otherSite(state, message.site)];
  const holderSilentMs = holder === undefined ? 0 : now - holder.atMs;
  return Math.round(message.lagMs + Math.max(0, message.silentMs - holderSilentMs));
}

const otherRuns: ReadonlySet<SiteState> = new Set(["Acquiring", "Adopting", "Active", "Quiescing"]);

/**
 * The holder wants to run again after a lapse or a cold boot. The other site must be heard *after* this was asked,
 * proven by its echo: it may have been forced by a person in the meantime.
 */
function decideResume(state: WitnessGroup, message: Acquire, now: number): GrantDecision {
  const no = (refused: Refusal, asked: WitnessGroup["asked"] = null): GrantDecision => ({
    refused,
    asked,
    voids: false,
  });
  const { record } = state;
  if (record.veto !== null) {
    return no(
      refusal(
        "Veto",
        "an older run without a lease is still recorded; it is lifted by the next heartbeat",
        message.leaseMs / 8,
      ),
    );
  }
  const unseals = record.switching !== null && message.kind === "unseal" && record.switching.opId === message.opId;
  if (record.switching !== null && !unseals) {
    return no(refusal("Switching", `switchover ${record.switching.opId} is open`, message.leaseMs / 8));
  }
  const sameRun = unseals || (message.kind === "unseal" && state.lastOp?.opId === message.opId);
  if (sameRun && state.lastOp?.incarnation === message.incarnation) {
    return { refused: null, asked: null, voids: unseals };
  }
  const other = otherSite(state, message.site);
  const asked = state.asked?.nonce === message.nonce ? state.asked : { nonce: message.nonce, atMs: now };
  const heard = state.heard[other];
  if (heard === undefined || heard.echoMs === null || heard.echoMs < asked.atMs) {
    const reason = `${other} must be heard first, since it may have been forced to take over; if it is off, use force-fenced`;
    return no(refusal("OtherNotHeard", reason, message.leaseMs / 8), asked);
  }
  if (otherRuns.has(heard.state)) {
    return no(refusal("OtherNotHeard", `${other} is ${heard.state}`, message.leaseMs / 8), asked);
  }
  return { refused: null, asked: null, voids: unseals };
}
