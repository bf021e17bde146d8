import { type Command, Option } from "commander";
import { moveAnnotations, newRequest, type MoveVerb } from "../config/requests.ts";
import { type StoredGroup } from "../config/stored.ts";
import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { type AccessFlags, annotateGroup, getGroup, openSite, withAccess } from "./access.ts";
import { followMove } from "./follow.ts";
import { formatMs } from "./output.ts";
import { askGroup, readResult, withRequest } from "./requests.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

/** Verbs that move a group to the other site. Each becomes an annotation on the group and is obeyed once. */

interface MoveFlags extends AccessFlags {
  readonly to?: string;
  readonly wait?: boolean;
  readonly timeout: string;
  readonly dryRun?: boolean;
  readonly namespace: string;
  readonly forceFenced?: string;
}

export function addFailover(program: Command, terminal: Terminal): void {
  moving(program.command("failover"))
    .requiredOption("--to <site>", "site that shall run the group")
    .option(
      "--force-fenced <epoch>",
      "you attest that the other site is switched off, at this epoch: needs neither witness nor peer",
    )
    .summary("move a group to the other site, also when this one is lost")
    .description(
      "Asks for a failover by a one-shot annotation on the group. Either site may be asked; ask the one that is " +
        "alive. The witness grants it once the old site can no longer run the group; while the old site answers, it " +
        "becomes a switchover. What is asked for names the present epoch, so that the same request applied again " +
        "later moves nothing.\n\n" +
        "--force-fenced is for a disaster in which the witness is lost too. Nobody checks what you attest: if the " +
        "other site runs after all, both do.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} failover shop --to west --wait --context west`)
    .action(async (name: string, flags: MoveFlags) => {
      const verb = flags.forceFenced === undefined ? "failover" : "force-fenced";
      await move(verb, name, flags, terminal);
    });
}

export function addSwitchover(program: Command, terminal: Terminal): void {
  moving(program.command("switchover"))
    .requiredOption("--to <site>", "site that shall run the group")
    .summary("move a group to the other site without losing anything")
    .description(
      "Stops the group where it runs, waits until the other site has everything and has compared it, and starts it " +
        "there. Refused, with every reason, before anything is touched while a site is not fit for it. Until the " +
        `other site has caught up, \`${terminal.program} abort\` brings the group back to where it was.`,
    )
    .addHelpText(
      "after",
      `\nExamples:\n  ${terminal.program} switchover shop --to west --dry-run\n  ${terminal.program} switchover shop --to west --wait`,
    )
    .action(async (name: string, flags: MoveFlags) => move("switchover", name, flags, terminal));
}

export function addFailback(program: Command, terminal: Terminal): void {
  moving(program.command("failback"))
    .summary("move a group back to its preferred site, without losing anything")
    .description(
      "A switchover to the first of the group's sites. After a failover that site follows the other one by itself; " +
        "what it had written on its own is kept, and listed first.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} failback shop --wait --context east`)
    .action(async (name: string, flags: MoveFlags) => move("switchover", name, flags, terminal));
}

function moving(command: Command): Command {
  return withRequest(withAccess(command))
    .argument("<group>", "protection group")
    .option("--wait", "show the phases until the group runs there, or the request is refused")
    .addOption(new Option("--timeout <seconds>", "longest wait").default("600"))
    .option("--dry-run", "say what would happen and what stands in the way, and change nothing");
}

async function move(verb: MoveVerb, name: string, flags: MoveFlags, terminal: Terminal): Promise<void> {
  const client = await openSite(flags, terminal);
  const group = await getGroup(client, name, terminal.signal);
  const sites = (group.spec.sites ?? []).map((site) => site.name);
  const to = flags.to ?? sites[0] ?? "";
  if (!sites.includes(to)) {
    throw new LifeboatError("FailoverRefused", `${to} is not a site of ${name}`, {
      hint: `its sites are ${sites.join(" and ")}`,
    });
  }
  const { active, epoch, role } = group.status;
  // Of whoever holds the group: a site that was rebooted may hold it and not run it.
  const runs = role === "active" || group.status.state === "Standby";
  if (active === to && runs && verb !== "force-fenced") {
    terminal.out(`${name} is already active at ${to} (epoch ${epoch ?? "unknown"}); nothing to do\n`);
    return;
  }
  if (epoch === undefined) {
    throw new LifeboatError("FailoverRefused", `${name} has no epoch yet: it was never granted to a site`, {
      hint: `\`${terminal.program} status ${name}\` shows whether the agent and the witness are reachable`,
    });
  }
  if (flags.to === undefined) tellKept(group, terminal);
  const request = `${to}@${flags.forceFenced ?? epoch}`;
  const annotation = moveAnnotations[verb];
  if (flags.dryRun === true) {
    await explain(client, group, { verb, to, annotation: `${annotation}=${request}` }, flags, terminal);
    return;
  }
  await annotateGroup(client, name, { [annotation]: request }, terminal.signal);
  terminal.out(`asked for ${name} to move to ${to} (${annotation}=${request})\n`);
  if (flags.wait !== true) return;
  await followMove(
    client,
    { name, request, to, answeredAt: group.status.lastRequest?.at, timeoutMs: Number(flags.timeout) * 1000 },
    terminal,
  );
}

function tellKept({ name, status }: StoredGroup, terminal: Terminal): void {
  const { count = 0 } = status.divergence ?? {};
  if (count === 0) return;
  terminal.out(
    `${count} objects that this site had otherwise are kept and not brought back: ` +
      `\`${terminal.program} divergence ${name}\`\n`,
  );
}

async function explain(
  client: KubeClient,
  group: StoredGroup,
  plan: { readonly verb: MoveVerb; readonly to: string; readonly annotation: string },
  flags: MoveFlags,
  terminal: Terminal,
): Promise<void> {
  const { active = "the active site", lag } = group.status;
  const { verb, to } = plan;
  const age = lag?.ageMs === undefined ? "unknown" : formatMs(lag.ageMs);
  terminal.out(`would annotate ${group.name} with ${plan.annotation}\n`);
  if (verb === "switchover") {
    terminal.out(
      `${active} would stop the group, ${to} would wait for everything of it and start it: nothing is lost\n`,
    );
    await askGroup(client, group.name, newRequest("preflight"), terminal);
    const findings = (await readResult(client, flags.namespace, group.name, terminal.signal)) as string[];
    for (const finding of findings) terminal.out(`in the way: ${finding}\n`);
    if (findings.length > 0) terminal.setExitCode(exitCodes.found);
    return;
  }
  if (verb === "force-fenced")
    terminal.out(`${to} would start at once; ${active} must be off, and nobody checks that\n`);
  else terminal.out(`${active} would be stopped or be out of its lease before ${to} starts\n`);
  terminal.out(`changes that ${to} has not received are lost: its newest state is ${age} old\n`);
}
