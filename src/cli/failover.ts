import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { type StoredGroup } from "../config/stored.ts";
import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { marks } from "../objects/object.ts";
import { type AccessFlags, annotateGroup, getGroup, openSite, withAccess } from "./access.ts";
import { formatMs } from "./output.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

interface FailoverFlags extends AccessFlags {
  readonly to: string;
  readonly wait?: boolean;
  readonly timeout: string;
  readonly dryRun?: boolean;
}

const askEveryMs = 500;

export function addFailover(program: Command, terminal: Terminal): void {
  withAccess(program.command("failover"))
    .argument("<group>", "protection group")
    .requiredOption("--to <site>", "site that shall run the group")
    .option("--wait", "wait until the group runs there, or the request is refused")
    .option("--timeout <seconds>", "longest wait", "600")
    .option("--dry-run", "say what would happen, and change nothing")
    .summary("move a group to the other site, also when this one is lost")
    .description(
      "Asks for a failover by a one-shot annotation on the group. Either site may be asked; ask the one that is " +
        "alive. The witness grants it once the old site can no longer run the group. What is asked for names the " +
        "present epoch, so that the same request applied again later moves nothing.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} failover shop --to west --wait --context west`)
    .action(async (name: string, flags: FailoverFlags) => failOver(name, flags, terminal));
}

async function failOver(name: string, flags: FailoverFlags, terminal: Terminal): Promise<void> {
  const client = await openSite(flags, terminal);
  const group = await getGroup(client, name, terminal.signal);
  const sites = (group.spec.sites ?? []).map((site) => site.name);
  if (!sites.includes(flags.to)) {
    throw new LifeboatError("FailoverRefused", `${flags.to} is not a site of ${name}`, {
      hint: `its sites are ${sites.join(" and ")}`,
    });
  }
  const { active, epoch } = group.status;
  if (active === flags.to) {
    terminal.out(`${name} is already active at ${flags.to} (epoch ${epoch ?? "unknown"}); nothing to do\n`);
    return;
  }
  if (epoch === undefined) {
    throw new LifeboatError("FailoverRefused", `${name} has no epoch yet: it was never granted to a site`, {
      hint: `\`${terminal.program} status ${name}\` shows whether the agent and the witness are reachable`,
    });
  }
  const request = `${flags.to}@${epoch}`;
  if (flags.dryRun === true) {
    explain(group, flags.to, request, terminal);
    return;
  }
  await annotateGroup(client, name, { [marks.failover]: request }, terminal.signal);
  terminal.out(`asked for ${name} to move to ${flags.to} (${marks.failover}=${request})\n`);
  if (flags.wait === true) await waitFor(client, name, request, Number(flags.timeout) * 1000, terminal);
}

function explain(group: StoredGroup, to: string, request: string, terminal: Terminal): void {
  const { active, lag, conditions } = group.status;
  const age = lag?.ageMs === undefined ? "unknown" : formatMs(lag.ageMs);
  terminal.out(`would annotate ${group.name} with ${marks.failover}=${request}\n`);
  terminal.out(`${active ?? "the active site"} would be stopped or be out of its lease before ${to} starts\n`);
  terminal.out(`changes that ${to} has not received are lost: its newest state is ${age} old\n`);
  for (const condition of conditions ?? []) {
    if (condition.type === "Promotable" && condition.status !== "True") terminal.out(`warning: ${condition.message}\n`);
  }
}

async function waitFor(
  client: KubeClient,
  name: string,
  request: string,
  timeoutMs: number,
  terminal: Terminal,
): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  let shown = "";
  while (Date.now() < endMs) {
    const { status } = await getGroup(client, name, terminal.signal);
    const last = status.lastRequest;
    if (last?.id === request) {
      const text = `${last.outcome ?? "?"}: ${last.message ?? ""}`;
      if (text !== shown) terminal.out(`${text}\n`);
      shown = text;
      if (last.outcome === "Done") return;
      if (last.outcome === "Refused") {
        terminal.setExitCode(exitCodes.refused);
        return;
      }
    }
    await delay(askEveryMs, undefined, { signal: terminal.signal });
  }
  terminal.err(
    `not finished within ${timeoutMs / 1000} s; the request stands. \`${terminal.program} status ${name}\`\n`,
  );
  terminal.setExitCode(exitCodes.pending);
}
