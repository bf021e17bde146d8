import type { Command } from "commander";
import { loadConfig } from "../config/agent.ts";
import { guardConfigSchema, type GuardConfig } from "../config/guard.ts";
import type { GuardListing, ListedGroup } from "../guard/listing.ts";
import { formatData, table } from "./output.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

interface GuardFlags {
  readonly config: string;
  readonly once?: boolean;
  readonly namespace?: string[];
  readonly remove?: boolean;
  readonly output: "table" | "json" | "yaml";
}

/** The node guard: a process, and two looks at a node. */
export function addGuard(program: Command, terminal: Terminal): void {
  program
    .command("guard")
    .requiredOption("--config <file>", "configuration file")
    .option("--once", "say what would be stopped on this node, and with what; stop nothing")
    .option("--dry-run", "the same as --once")
    .option("-n, --namespace <name...>", "with --once: also list what runs in these namespaces")
    .option("--remove", "take the guard off this node: lift the cut, let go what is held back, forget every group")
    .option("-o, --output <format>", "table, json or yaml", "table")
    .summary("run a node's guard, which stops pods without the API server")
    .description(
      "Holds the pods of each group on this node while the site may run the group, and stops them when it may not: " +
        "when its copy of the site's lease ends, or the agent says so. It cuts their traffic, kills their processes " +
        "and keeps them down, also while API server, kubelet and agent are dead and after a reboot of the node. If " +
        "the guard itself is killed, the kernel cuts the traffic when the lease ends.\n\n" +
        "Run it as root, as a host unit that the kubelet requires: then no pod of a group starts after a boot before " +
        "the site has been granted the group again. As a DaemonSet it does the rest, but a boot is not covered until " +
        "the guard's own pod has started.",
    )
    .addHelpText(
      "after",
      `
Examples:
  ${terminal.program} guard --config /etc/lifeboat/guard.yaml
  ${terminal.program} guard --config /etc/lifeboat/guard.yaml --once -n shop   # before the first group is there
  ${terminal.program} guard --config /etc/lifeboat/guard.yaml --remove         # after the unit was stopped

docs/node-guard.md has the unit, what a DaemonSet needs, and the configuration file.`,
    )
    .action(async (flags: GuardFlags & { dryRun?: boolean }) => guard(flags, terminal));
}

async function guard(flags: GuardFlags & { dryRun?: boolean }, terminal: Terminal): Promise<void> {
  const config = await loadConfig(flags.config, guardConfigSchema);
  if (flags.once === true || flags.dryRun === true) await list(config, flags, terminal);
  else if (flags.remove === true) await remove(config, terminal);
  else {
    const { runGuard } = await import("../guard/start.ts");
    await runGuard(config, { env: terminal.env, signal: terminal.signal });
  }
}

async function list(config: GuardConfig, flags: GuardFlags, terminal: Terminal): Promise<void> {
  const { listGuarded } = await import("../guard/listing.ts");
  const listing = await listGuarded(config, flags.namespace ?? []);
  terminal.out(`${flags.output === "table" ? describe(listing) : formatData(listing, flags.output)}\n`);
  if (listing.trafficProblem !== undefined) terminal.setExitCode(exitCodes.found);
}

async function remove(config: GuardConfig, terminal: Terminal): Promise<void> {
  const { removeGuard } = await import("../guard/listing.ts");
  const groups = await removeGuard(config);
  terminal.out(`this node is guarded no more${groups.length === 0 ? "" : `; forgotten: ${groups.join(", ")}`}\n`);
}

function describe(listing: GuardListing): string {
  const { node, cgroups, canFreeze, trafficProblem, groups, pods, nameless } = listing;
  const lines = [
    `node     ${node}`,
    `stops    by cgroup ${cgroups}${canFreeze ? "" : ", without a freezer: what is started again runs until the next look"}`,
    `traffic  ${trafficProblem === undefined ? "cut by nftables, by the kernel alone when the guard is dead" : `not cut: ${trafficProblem}`}`,
    "",
    groups.length === 0
      ? "no group has been heard of on this node"
      : table(["GROUP", "NAMESPACES", "NOW", "WHY"], groups.map(groupRow)),
  ];
  if (pods.length > 0) {
    const rows = pods.map((pod) => [
      pod.group,
      `${pod.namespace}/${pod.name}`,
      String(pod.processes),
      pod.host ? "the node's: not cut" : pod.addresses.join(" "),
      pod.heldBack ? "held back" : pod.processes > 0 ? "would be killed" : "",
    ]);
    lines.push("", table(["GROUP", "POD", "PROCESSES", "NETWORK", "STOP"], rows));
  }
  if (nameless.length > 0) lines.push("", `not guarded, since nobody knows their namespace: ${nameless.join(", ")}`);
  return lines.join("\n");
}

function groupRow({ group, namespaces, mode, reason, known }: ListedGroup): string[] {
  const now = mode ?? (known ? "waits for a grant" : "not gated");
  return [group, namespaces.join(" "), now, reason];
}
