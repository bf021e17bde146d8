import type { Command } from "commander";
import { createColors } from "picocolors";
import { type AgentConfig, agentConfigSchema, loadConfig } from "../config/agent.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { connect, type KubeClient } from "../kube/client.ts";
import { kubeSourceFrom } from "../kube/kubeconfig.ts";
import { resources } from "../kube/resource.ts";
import { Certificates } from "../rpc/certificates.ts";
import { connect as connectPeer } from "../rpc/connection.ts";
import type { PeerExpectation } from "../rpc/identity.ts";
import { clockOutcome, folderOutcome, type Outcome, versionOutcome } from "./check-verdicts.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

interface Check {
  readonly name: string;
  run(signal: AbortSignal): Promise<Outcome>;
}

const certificateWarnMs = 14 * 24 * 3600 * 1000;

export function addCheck(program: Command, terminal: Terminal): void {
  program
    .command("check")
    .requiredOption("--config <file>", "configuration of the agent, as `agent --config` takes it")
    .summary("check permissions, versions, clocks and reachability before an agent is started")
    .description("Runs every check and reports all of them. Changes nothing. Exit code 3: something failed.")
    .addHelpText("after", `\nExample:\n  ${terminal.program} check --config /etc/lifeboat/agent.yaml`)
    .action(async (flags: { config: string }) => {
      const config = await loadConfig(flags.config, agentConfigSchema);
      const failed = await runChecks(checksOf(config, terminal), terminal);
      if (failed > 0) terminal.setExitCode(exitCodes.found);
    });
}

async function runChecks(checks: readonly Check[], terminal: Terminal): Promise<number> {
  const pc = createColors(terminal.interactive);
  const marks = { ok: pc.green("ok"), warning: pc.yellow("warning"), failed: pc.red("failed") };
  let failed = 0;
  for (const check of checks) {
    const outcome = await check.run(terminal.signal).catch((error: unknown): Outcome => {
      terminal.signal.throwIfAborted();
      return {
        verdict: "failed",
        message: messageOf(error),
        hint: error instanceof LifeboatError ? error.hint : undefined,
      };
    });
    if (outcome.verdict === "failed") failed++;
    terminal.out(`${marks[outcome.verdict]}  ${check.name}: ${outcome.message}\n`);
    if (outcome.hint !== undefined && outcome.verdict !== "ok") terminal.out(`    Hint: ${outcome.hint}\n`);
  }
  return failed;
}

function checksOf(config: AgentConfig, terminal: Terminal): Check[] {
  const client = (): Promise<KubeClient> =>
    connect(kubeSourceFrom(terminal.env, { kubeconfig: config.kubeconfig, context: config.context }));
  const certificates = (): Promise<Certificates> =>
    Certificates.load({ certFile: config.tls.cert, keyFile: config.tls.key, caFile: config.tls.ca });
  const peers = config.peers.map((peer) => ({
    name: `peer ${peer.site}`,
    run: (signal: AbortSignal) =>
      checkReach(certificates, peer.address, { pair: config.pair, roles: ["site"], site: peer.site }, signal),
  }));
  return [
    { name: "API server", run: async (signal) => checkVersion(await client(), signal) },
    { name: "clock", run: async (signal) => checkClock(await client(), config.namespace, signal) },
    { name: "ProtectionGroup resource", run: async (signal) => checkCrd(await client(), signal) },
    { name: "permissions", run: async (signal) => checkPermissions(await client(), config.namespace, signal) },
    { name: "data folder", run: async () => folderOutcome(config.dataDir) },
    { name: "certificate", run: async () => checkCertificate(await certificates(), config) },
    ...peers,
    {
      name: "witness",
      run: (signal) =>
        checkReach(certificates, config.witness?.address, { pair: config.pair, roles: ["witness"] }, signal),
    },
  ];
}

async function checkVersion(client: KubeClient, signal: AbortSignal): Promise<Outcome> {
  return versionOutcome(client.server, await client.version({ signal }));
}

/** Compares this clock with the API server's by the time it stamps on a dry-run object. */
async function checkClock(client: KubeClient, namespace: string, signal: AbortSignal): Promise<Outcome> {
  const object = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { generateName: "lifeboat-check-", namespace, name: "" },
  };
  const startMs = Date.now();
  const made = await client.create(resources.configMaps, object, {
    fieldManager: "lifeboat-check",
    dryRun: true,
    signal,
  });
  return clockOutcome(String(made.metadata.creationTimestamp), { startMs, endMs: Date.now() });
}

async function checkCrd(client: KubeClient, signal: AbortSignal): Promise<Outcome> {
  const found = await client.find(resources.crds, { name: "protectiongroups.lifeboat.dev" }, { signal });
  if (found !== undefined) return { verdict: "ok", message: "installed" };
  return { verdict: "failed", message: "not installed", hint: "kubectl apply -f charts/lifeboat/crds" };
}

/** What an agent does with every kind; a narrower role is possible, and then the kinds it lacks are reported. */
const verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];

async function checkPermissions(client: KubeClient, namespace: string, signal: AbortSignal): Promise<Outcome> {
  const missing: string[] = [];
  for (const verb of verbs) {
    if (!(await mayDo(client, { verb, group: "*", resource: "*" }, signal))) missing.push(`${verb} *`);
  }
  for (const verb of ["get", "create", "update"]) {
    const attributes = { verb, group: "coordination.k8s.io", resource: "leases", namespace };
    if (!(await mayDo(client, attributes, signal))) missing.push(`${verb} leases in ${namespace}`);
  }
  if (missing.length === 0) return { verdict: "ok", message: "every kind can be read and written" };
  return {
    verdict: "warning",
    message: `missing: ${missing.join(", ")}`,
    hint: "kinds without permission are not replicated and are reported in the group's status",
  };
}

async function mayDo(client: KubeClient, resourceAttributes: object, signal: AbortSignal): Promise<boolean> {
  const body = JSON.stringify({
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: { resourceAttributes },
  });
  const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const review = (await client.requestJson("POST", path, { body, signal })) as { status?: { allowed?: boolean } };
  return review.status?.allowed === true;
}

function checkCertificate(certificates: Certificates, config: AgentConfig): Outcome {
  const { identity, expiresAtMs } = certificates;
  certificates.close();
  if (identity.pair !== config.pair || identity.role !== "site" || identity.site !== config.site) {
    return { verdict: "failed", message: `is not for site ${config.site} of pair ${config.pair}` };
  }
  const days = Math.floor((expiresAtMs - Date.now()) / 86_400_000);
  const verdict = days < 0 ? "failed" : expiresAtMs - Date.now() < certificateWarnMs ? "warning" : "ok";
  return { verdict, message: days < 0 ? "has expired" : `valid for ${days} days`, hint: "renew the certificate" };
}

async function checkReach(
  load: () => Promise<Certificates>,
  addresses: string | readonly string[] | undefined,
  expect: PeerExpectation,
  signal: AbortSignal,
): Promise<Outcome> {
  if (addresses === undefined) return { verdict: "warning", message: "no address is configured" };
  const certificates = await load();
  const failures: unknown[] = [];
  try {
    for (const address of [addresses].flat()) {
      const startMs = Date.now();
      try {
        const connection = await connectPeer({ address, certificates, expect }, { signal });
        connection.close();
        return { verdict: "ok", message: `${address} answers in ${Date.now() - startMs} ms` };
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    }
    // Of several agents one answers at a time: none is reached only where the first is not, either.
    throw failures[0];
  } finally {
    certificates.close();
  }
}
