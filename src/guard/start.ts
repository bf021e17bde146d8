import { execFile } from "node:child_process";
import { hostname } from "node:os";
import { Gauge, Registry } from "prom-client";
import { runTogether } from "../abort.ts";
import type { GuardConfig } from "../config/guard.ts";
import { Certificates } from "../rpc/certificates.ts";
import { createLog, safeError, type Log } from "../telemetry/log.ts";
import { startTelemetryServer, type TelemetryServer } from "../telemetry/server.ts";
import { findCgroups } from "./cgroups.ts";
import { kernelClock } from "./clock.ts";
import { GuardDisk } from "./disk.ts";
import { NodeGuard } from "./node-guard.ts";
import { PodFinder } from "./pods.ts";
import { Traffic } from "./traffic.ts";
import { Uplink } from "./uplink.ts";
import { Warden } from "./warden.ts";

export interface GuardEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** What a guard's commands and its process work with. */
export function guardParts(config: GuardConfig, log: Log) {
  const clock = kernelClock;
  const tree = findCgroups(config.cgroups, config.cgroupRoot);
  return {
    node: config.node ?? hostname(),
    clock,
    tree,
    disk: new GuardDisk({ dataDir: config.dataDir, runDir: config.runDir, log }),
    finder: new PodFinder({ tree, podLogsDir: config.podLogsDir, bundles: config.bundles }),
    warden: new Warden({ tree, clock, log }),
    traffic: new Traffic({ clock, log }),
    never: new Set(config.never),
  };
}

/**
 * `lifeboat guard`, until the signal aborts. It ends without touching anything: what it held back stays so, and the
 * kernel cuts what it no longer refreshes. Rejects with ConfigInvalid, JournalCorrupt or PeerCertificate where it cannot
 * start; an agent that cannot be reached is waited for, with every gate that a boot has closed kept closed.
 */
export async function runGuard(config: GuardConfig, { env, signal }: GuardEnvironment): Promise<void> {
  const log = createLog({ level: config.logLevel, fields: { site: config.site, pair: config.pair, role: "guard" } });
  const parts = guardParts(config, log);
  const { cert, key, ca } = config.tls;
  const certificates = await Certificates.load({ certFile: cert, keyFile: key, caFile: ca });
  const guard: NodeGuard = new NodeGuard({
    ...parts,
    podLogsDir: config.podLogsDir,
    log,
    send: (report) => uplink.send(report, { signal }),
  });
  const uplink = new Uplink({
    pair: config.pair,
    site: config.site,
    address: config.agent.address,
    certificates,
    random: Math.random,
    log,
    onOrders: (orders) => guard.hear(orders),
  });
  let telemetry: TelemetryServer | undefined;
  try {
    // Before the kubelet is let go on: what may not run without a grant is held back from here on.
    await parts.traffic.setup();
    guard.look();
    await parts.traffic.settled();
    telemetry = await serveMetrics(config, guard, uplink, log);
    const { version, canFreeze } = parts.tree;
    log.info({ node: parts.node, groups: guard.states.length, cgroups: version, canFreeze }, "guard started");
    tellSystemd(env, log);
    await runTogether([(inner) => guard.run(inner), (inner) => uplink.run(inner)], { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await telemetry?.close();
    certificates.close();
    log.info("guard stopped; what it held back stays so, what runs is cut off when its time ends");
  }
}

/** As a unit of `Type=notify`, what is ordered after the guard waits for this. */
function tellSystemd(env: GuardEnvironment["env"], log: Log): void {
  if (env["NOTIFY_SOCKET"] === undefined) return;
  execFile("systemd-notify", ["--ready"], (error) => {
    if (error !== null) log.warn({ error: safeError(error) }, "systemd could not be told");
  });
}

async function serveMetrics(
  config: GuardConfig,
  guard: NodeGuard,
  uplink: Uplink,
  log: Log,
): Promise<TelemetryServer | undefined> {
  if (config.metrics === undefined) return undefined;
  const registry = new Registry();
  const labels = { site: config.site };
  registry.setDefaultLabels(labels);
  const gauge = (name: string, help: string, collect: (gauge: Gauge) => void, labelNames: string[] = []) =>
    new Gauge({
      name: `lifeboat_guard_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        collect(this);
      },
    });
  gauge("connected", "1 while the site's agent answers this guard.", (each) => each.set(uplink.connected ? 1 : 0));
  gauge("dead_man", "1 while the kernel would cut the pods' traffic by itself.", (each) =>
    each.set(guard.facts.deadMan ? 1 : 0),
  );
  gauge("lateness_seconds", "P: worst lateness of the guard's timers in the last minutes.", (each) =>
    each.set(guard.facts.latenessMs / 1000),
  );
  gauge("unkillable_pods", "Pods of stopped groups whose processes survive SIGKILL.", (each) =>
    each.set(guard.facts.unkillable),
  );
  const ofGroups = (value: (state: NodeGuard["states"][number]) => number | null) => (each: Gauge) => {
    for (const state of guard.states) {
      const found = value(state);
      if (found !== null) each.set({ group: state.record.group }, found);
    }
  };
  gauge(
    "fenced",
    "1 while the group's pods are kept down on this node.",
    ofGroups(({ mode }) => (mode === "fenced" ? 1 : 0)),
    ["group"],
  );
  gauge(
    "stop_seconds",
    "S: longest time from the end of a lease to the last process dead, as measured here.",
    ofGroups(({ stopMs }) => (stopMs === null ? null : stopMs / 1000)),
    ["group"],
  );
  return startTelemetryServer({ listen: config.metrics, registry, isReady: () => uplink.connected, log });
}
