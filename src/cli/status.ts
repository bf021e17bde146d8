import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import { createColors } from "picocolors";
import type { StoredGroup } from "../config/stored.ts";
import { type AccessFlags, getGroup, listGroups, openSite, withAccess } from "./access.ts";
import { formatAge, formatData, formatMs, type OutputFormat, table } from "./output.ts";
import type { Terminal } from "./terminal.ts";

interface StatusFlags extends AccessFlags {
  readonly output: OutputFormat;
  readonly watch?: boolean;
}

/** How often `-w` asks. The agent writes the status at most once a second. */
const watchEveryMs = 1000;

export function addStatus(program: Command, terminal: Terminal): void {
  withAccess(program.command("status"))
    .argument("[group]", "show one group in detail")
    .summary("show the groups of a site, their lag and whether they can fail over")
    .description("Shows the protection groups as one site sees them. Ask both sites to compare their views.")
    .addOption(
      new Option("-o, --output <format>", "format").choices(["table", "wide", "json", "yaml"]).default("table"),
    )
    .option("-w, --watch", "go on showing changes until Ctrl-C")
    .addHelpText("after", `\nExample:\n  ${terminal.program} status shop -w --context west`)
    .action(async (name: string | undefined, flags: StatusFlags) => showStatus(name, flags, terminal));
}

async function showStatus(name: string | undefined, flags: StatusFlags, terminal: Terminal): Promise<void> {
  const client = await openSite(flags, terminal);
  let shown = "";
  for (;;) {
    const groups =
      name === undefined ? await listGroups(client, terminal.signal) : [await getGroup(client, name, terminal.signal)];
    const text = render(groups, name, flags.output, terminal.interactive);
    if (text !== shown) {
      if (flags.watch === true && terminal.interactive) terminal.out("\u001b[2J\u001b[H");
      terminal.out(`${text}\n`);
      shown = text;
    }
    if (flags.watch !== true) return;
    await delay(watchEveryMs, undefined, { signal: terminal.signal });
  }
}

function render(
  groups: readonly StoredGroup[],
  name: string | undefined,
  output: OutputFormat,
  coloured: boolean,
): string {
  if (output === "json" || output === "yaml") {
    const view = groups.map((group) => ({ name: group.name, spec: group.spec, status: group.status }));
    return formatData(name === undefined ? view : view[0], output);
  }
  const [group] = groups;
  if (name !== undefined && group !== undefined) return describe(group, output === "wide", coloured);
  if (groups.length === 0) return "no protection groups at this site";
  return overview(groups, output === "wide");
}

function overview(groups: readonly StoredGroup[], wide: boolean): string {
  const headers = ["NAME", "ROLE", "ACTIVE", "MODE", "STATE", "LAG", "READY", "AGE"];
  if (wide) headers.push("EPOCH", "OBJECTS", "APPLIED", "PENDING", "FAILED", "REASON");
  const rows = groups.map((group) => {
    const { status, spec } = group;
    const row = [
      group.name,
      status.role ?? "-",
      status.active ?? "-",
      spec.mode ?? "ActiveStandby",
      status.state ?? "-",
      status.lag?.summary ?? "-",
      conditionOf(group, "Ready")?.status ?? "-",
      group.createdAt === undefined ? "-" : formatAge(Date.now() - Date.parse(group.createdAt)),
    ];
    const { counts } = status;
    if (wide) {
      row.push(status.epoch ?? "-", ...[counts?.objects, counts?.applied, counts?.pending, counts?.failed].map(show));
      row.push(status.reason ?? "");
    }
    return row;
  });
  return table(headers, rows);
}

/** Longest list that is printed in full without `-o wide`. */
const listShownCount = 10;

function describe(group: StoredGroup, wide: boolean, coloured: boolean): string {
  const { status, spec } = group;
  const lines: string[] = [];
  const line = (label: string, value: string): void => void lines.push(`${`${label}:`.padEnd(13)}${value}`);
  line("Group", group.name);
  line("Sites", (spec.sites ?? []).map((site) => site.name).join(", "));
  line(
    "Role here",
    `${status.role ?? "unknown"} (active: ${status.active ?? "unknown"}, epoch ${status.epoch ?? "-"})`,
  );
  line("State", `${status.state ?? "unknown"}${status.reason === undefined ? "" : `: ${status.reason}`}`);
  const { lag, counts, peer, witness } = status;
  const ages = `journal ${formatMs(lag?.journalMs)}, apply ${formatMs(lag?.applyMs)}, age ${formatMs(lag?.ageMs)}`;
  line("Lag", lag === undefined ? "never synchronised" : ages);
  line(
    "Objects",
    `${show(counts?.objects)}, applied ${show(counts?.applied)}, pending ${show(counts?.pending)}, ` +
      `withheld ${show(counts?.withheld)}, failed ${show(counts?.failed)}`,
  );
  if (status.merge !== undefined) line("Both sites", bothSites(status.merge));
  const { leases, ifLost } = status;
  if (leases !== undefined) {
    line("Leases", `witness ${leases.witness ?? "unknown"}; peer ${leases.peer ?? "unknown"}`);
    line("Fence", `${leases.fence ?? "unknown"}, stops within ${formatMs(leases.stopBoundMs)}`);
  }
  line("Peer", reachable(peer));
  line("Witness", reachable(witness));
  if (status.lastFailover !== undefined) {
    const { at, from, to, kind, decisionMs, rtoMs, outcome } = status.lastFailover;
    line(
      "Last move",
      `${kind ?? "failover"} ${from ?? "?"} → ${to ?? "?"} at ${at ?? "?"}, decided in ` +
        `${formatMs(decisionMs)}, ready in ${formatMs(rtoMs)}${outcome === undefined ? "" : `: ${outcome}`}`,
    );
  }
  if (status.lastRequest !== undefined) {
    const { verb, id, outcome, message } = status.lastRequest;
    line("Last request", `${verb ?? "?"} ${id ?? ""}: ${outcome ?? "?"}${message === undefined ? "" : `, ${message}`}`);
  }
  if (ifLost !== undefined) {
    const rows = [
      ["this site", ifLost.site],
      [peer?.site ?? "the other site", ifLost.peer],
      ["the witness", ifLost.witness],
    ];
    lines.push(
      "",
      table(
        ["IF IT DIED NOW", "WHAT WOULD HAPPEN"],
        rows.map(([who = "", what = "-"]) => [who, what]),
      ),
    );
  }
  const conditions = (status.conditions ?? []).map((condition) => [
    condition.type,
    colour(condition.type, condition.status, coloured),
    condition.reason,
    condition.message,
  ]);
  if (conditions.length > 0) lines.push("", table(["CONDITION", "STATUS", "REASON", "MESSAGE"], conditions));
  const conflicts = (status.merge?.conflicts ?? []).map(({ at, object, message }) => [at, object, message ?? ""]);
  lines.push(...listed(["CONFLICT FOUND", "OBJECT", "MESSAGE"], conflicts, wide));
  const findings = (status.findings ?? []).map((finding) => [finding.code, finding.object ?? "", finding.message]);
  lines.push(...listed(["FINDING", "OBJECT", "MESSAGE"], findings, wide));
  return lines.join("\n");
}

/** A table of the first rows, or of all where that is `wide`; nothing where there are none. */
function listed(head: string[], rows: string[][], wide: boolean): string[] {
  if (rows.length === 0) return [];
  const shown = wide ? rows : rows.slice(0, listShownCount);
  const more = rows.length - shown.length;
  return ["", table(head, shown), ...(more > 0 ? [`… ${more} more: -o wide`] : [])];
}

function bothSites(merge: NonNullable<StoredGroup["status"]["merge"]>): string {
  const { singletons, singletonCount, surgePercent, clockAheadMs, conflictCount } = merge;
  return [
    `${show(singletonCount)} single objects run ${singletons ?? "?"}`,
    `${show(conflictCount)} conflicts`,
    ...(surgePercent === undefined ? [] : [`replicas at ${surgePercent} % for the load of both`]),
    ...(clockAheadMs === undefined ? [] : [`the other site's clock is ${formatMs(clockAheadMs)} ahead: not followed`]),
  ].join(", ");
}

/** Conditions that are good when true; all others are good when false. */
const goodWhenTrue = new Set(["Synced", "Ready", "Promotable", "Armed", "Accepted"]);

function colour(type: string, status: string, coloured: boolean): string {
  const pc = createColors(coloured);
  const good = (status === "True") === goodWhenTrue.has(type);
  return good ? pc.green(status) : pc.yellow(status);
}

function reachable(end: { reachable?: boolean | undefined; lastSeen?: string | undefined } | undefined): string {
  if (end?.reachable === undefined) return "unknown";
  return end.reachable ? "reachable" : `not reachable, last seen ${end.lastSeen ?? "never"}`;
}

function show(count: number | undefined): string {
  return count === undefined ? "-" : String(count);
}

function conditionOf(group: StoredGroup, type: string) {
  return group.status.conditions?.find((condition) => condition.type === type);
}
