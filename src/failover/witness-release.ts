/** The end of a group at the witness: let go of by its holder, and from then on granted to nobody. */
import { formatCert, isNewer } from "./epoch.ts";
import type { Cert } from "./epoch.ts";
import type { Refusal, Release, Renew } from "./messages.ts";
import { hearEcho } from "./witness-draft.ts";
import type { Draft } from "./witness-draft.ts";
import { recovering, refusal } from "./witness-grant.ts";
import { switchRefused } from "./witness-switch.ts";

/** What was let go of is promised to nobody, whatever a site remembers of it. */
export function releasedRefusal({ state }: Draft): Refusal | null {
  if (!state.record.released) return null;
  return refusal("Released", `the group was deleted under ${formatCert(state.record.cert)}; create it anew to have it`);
}

/** The standby of what was let go of: it is about to forget it, and has no part in a next one of its name. */
export function isOver({ state }: Draft, { cert, site }: Renew): boolean {
  return state.record.released && cert !== null && state.record.cert?.holder !== site;
}

/** A site that knows nothing of a released group is not told: to it, the group begins. */
export function shownCert({ state }: Draft, theirs: Cert | null): Cert | null {
  return state.record.released && theirs === null ? null : state.record.cert;
}

/**
 * Deleting a group: only the holder lets go of it, and only once both sites were heard in this generation, so that no
 * site that runs it, or was forced to, is forgotten. The certificate stays: numbers only grow.
 */
export function release(draft: Draft, message: Release, outdated: boolean): void {
  if (!outdated) hearEcho(draft, message);
  const { record, blocked } = draft.state;
  // What it was granted last may never have reached it; what was never granted to anybody may be let go of by anybody.
  const holds = record.cert === null || (record.cert.holder === message.site && !isNewer(message.cert, record.cert));
  if (!holds || (!record.released && (outdated || record.switching !== null))) {
    const reason = `only the holder can release the group; ${formatCert(record.cert)}`;
    switchRefused(draft, message, refusal("NotHolder", reason));
    return;
  }
  if (!record.released && (blocked !== null || recovering(draft.state))) {
    const reason = blocked ?? "the witness has not heard from both sites yet";
    switchRefused(draft, message, refusal(blocked === null ? "Recovering" : "Conflict", reason));
    return;
  }
  if (!record.released) draft.record({ released: true, veto: null });
  // Both sites stay heard: the standby of a next one of its name speaks only once it is served under a grant.
  draft.set({ armed: false, asked: null, unclaimed: null });
  draft.reply(message.site, { type: "Released", group: message.group, cert: record.cert });
}
