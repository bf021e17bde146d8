import { heardWithin, readiness } from "../agent-draft.ts";
import type { AgentState } from "../agent-state.ts";
import { obstacles, preflight } from "../agent-switch.ts";
import { echoMaxMs } from "../timing.ts";

/**
 * What keeps a switchover from being begun now, one sentence each, as far as this site knows. The holder's list is the
 * one by which an order is refused; a standby does not know whether the holder's API server answers.
 */
export function switchoverFindings(state: AgentState, nowMs: number): string[] {
  const { config, record, policy, peer } = state;
  if (record.cert === null) return ["the group has never been granted to a site"];
  if (record.cert.holder === config.site) {
    return [...preflight({ s: state, now: nowMs }), ...obstacles({ s: state }, config.peer)];
  }
  const { timing } = policy;
  const found: string[] = [];
  if (!heardWithin(state, "witness", echoMaxMs(timing.leaseMs), nowMs)) found.push("the witness is not reached");
  if (peer === null || nowMs - peer.heardAtMs > timing.leaseMs) found.push(`${config.peer} is not reached`);
  else if (peer.state !== "Active") found.push(`${config.peer} is ${peer.state}, not Active`);
  const ready = readiness(state);
  const { lagMs } = state.data;
  if (ready !== "Ready") found.push(`${config.site} is ${ready}`);
  else if (lagMs === null || lagMs > policy.maxLagMs) {
    found.push(`${config.site} lags by ${lagMs ?? "?"} ms, at most ${policy.maxLagMs} allowed`);
  }
  if (record.divergence !== null && !record.divergence.saved)
    found.push(`what ${config.site} wrote by itself is not saved yet`);
  return [...found, ...obstacles({ s: state }, config.site)];
}
