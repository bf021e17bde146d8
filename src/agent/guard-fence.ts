import type { NodeFacts } from "../rpc/guard-messages.ts";

/** A node of the site, as the API server last said. */
export interface SiteNode {
  readonly name: string;
  readonly ready: boolean;
  /** The operator vouches that no pod of a group ever runs there. */
  readonly exempt: boolean;
}

/** A guard that has been heard by this process. */
export interface HeardGuard {
  readonly heardAtMs: number;
  readonly facts: NodeFacts;
}

export interface UnguardedNode {
  readonly node: string;
  readonly why: string;
}

/**
 * A guard whose node is well and that says nothing for this long has been removed, or does not get up. Until then its
 * silence is that of a node that has cut itself off: the kernel's dead-man does not need the guard. A crashed one is
 * back within seconds.
 */
export const guardSilentMaxMs = 30_000;

/**
 * Nodes on which nothing would stop a group's pods without the API server, each with the reason. Empty: every node that
 * has or may get pods of a group has a guard that works.
 */
export function unguardedNodes(
  nodes: readonly SiteNode[],
  guards: ReadonlyMap<string, HeardGuard>,
  nowMs: number,
): readonly UnguardedNode[] {
  return nodes.flatMap(({ name, ready, exempt }) => {
    const why = exempt ? undefined : whyUnguarded(guards.get(name), ready, nowMs);
    return why === undefined ? [] : [{ node: name, why }];
  });
}

function whyUnguarded(guard: HeardGuard | undefined, ready: boolean, nowMs: number): string | undefined {
  if (guard === undefined) return "no guard has been heard";
  const { heardAtMs, facts } = guard;
  const silentMs = nowMs - heardAtMs;
  if (ready && silentMs > guardSilentMaxMs) return `its guard has been silent for ${Math.round(silentMs / 1000)} s`;
  if (!facts.deadMan) return "its kernel would not cut the traffic if the guard died";
  if (facts.uncutPods > 0) return `${facts.uncutPods} pods of groups use the node's own network, which cannot be cut`;
  return undefined;
}

/**
 * τ + P + S: from the end of a lease to the last process dead, with what was measured. S of a node on which nothing had
 * to be stopped yet is the profile's.
 */
export function measuredStopBoundMs(
  timing: { readonly tickMs: number; readonly stopMs: number },
  guards: Iterable<HeardGuard>,
  stops: Iterable<number | null>,
): number {
  const latenessMs = Math.max(0, ...[...guards].map(({ facts }) => facts.latenessMs));
  const measured = [...stops];
  const stopMs = Math.max(measured.length === 0 ? timing.stopMs : 0, ...measured.map((ms) => ms ?? timing.stopMs));
  return Math.ceil(timing.tickMs + latenessMs + stopMs);
}
