import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import { type GroupRequest, newRequest, requestAnnotation, resultName } from "../config/requests.ts";
import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { type AccessFlags, annotateGroup, getGroup, openSite, withAccess } from "./access.ts";
import { formatData, table } from "./output.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

/** An agent that is alive answers within a second; a diff of 10,000 objects takes a few more. */
const answerTimeoutMs = 120_000;
const askEveryMs = 300;
/** Namespace of the agents when the chart is installed with its defaults. */
const defaultNamespace = "lifeboat-system";

interface RequestFlags extends AccessFlags {
  readonly namespace: string;
}

interface DiffEntry {
  readonly key: string;
  readonly what: string;
  readonly fields?: readonly string[];
}

export function addDiff(program: Command, terminal: Terminal): void {
  withRequest(withAccess(program.command("diff")))
    .argument("<group>", "protection group")
    .addOption(new Option("-o, --output <format>", "format").choices(["table", "json", "yaml"]).default("table"))
    .summary("what differs between what the standby should have and what it has")
    .description(
      "Asks the standby's agent to compare every object it should have with the cluster. Exit code 3: it differs.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} diff shop --context west`)
    .action(async (name: string, flags: RequestFlags & { output: "table" | "json" | "yaml" }) => {
      const client = await openSite(flags, terminal);
      await askGroup(client, name, newRequest("diff"), terminal);
      const entries = (await readResult(client, flags.namespace, name, terminal.signal)) as DiffEntry[];
      if (flags.output !== "table") terminal.out(`${formatData(entries, flags.output)}\n`);
      else if (entries.length === 0) terminal.out("no differences\n");
      else
        terminal.out(
          `${table(
            ["DIFFERENCE", "OBJECT", "FIELDS"],
            entries.map((entry) => [entry.what, entry.key, (entry.fields ?? []).join(", ")]),
          )}\n`,
        );
      // What is kept back on purpose is shown, and is as it should be.
      if (entries.some(({ what }) => what !== "withheld")) terminal.setExitCode(exitCodes.found);
    });
}

interface KeptEntry {
  readonly key: string;
  readonly what: string;
}

export function addDivergence(program: Command, terminal: Terminal): void {
  withRequest(withAccess(program.command("divergence")))
    .argument("<group>", "protection group")
    .addOption(new Option("-o, --output <format>", "format").choices(["table", "json", "yaml"]).default("table"))
    .summary("what a site that was overtaken had otherwise than the site that took over")
    .description(
      "After a failover the old site follows the new one. What it had written on its own is kept there until the " +
        "group has run at that site again; ask that site. json and yaml show the objects, without the values of Secrets.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} divergence shop -o yaml --context east`)
    .action(async (name: string, flags: RequestFlags & { output: "table" | "json" | "yaml" }) => {
      const client = await openSite(flags, terminal);
      const message = await askGroup(client, name, newRequest("divergence"), terminal);
      const entries = (await readResult(client, flags.namespace, name, terminal.signal)) as KeptEntry[];
      if (flags.output !== "table") terminal.out(`${formatData(entries, flags.output)}\n`);
      else if (entries.length === 0) terminal.out(`${message}\n`);
      else
        terminal.out(
          `${table(
            ["WHAT", "OBJECT"],
            entries.map(({ key, what }) => [what, key]),
          )}\n`,
        );
    });
}

export function addDeletes(program: Command, terminal: Terminal): void {
  const deletes = program.command("deletes").summary("deletes that the guard holds back");
  withRequest(withAccess(deletes.command("confirm")))
    .argument("<group>", "protection group")
    .summary("carry out the deletes that the guard holds back")
    .description(
      "When much of a group vanishes at once, the standby keeps its copies and reports DeletesPaused. This says that " +
        "the deletes are meant.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} deletes confirm shop --context west`)
    .action(async (name: string, flags: RequestFlags) => {
      const client = await openSite(flags, terminal);
      terminal.out(`${await askGroup(client, name, newRequest("deletes-confirm"), terminal)}\n`);
    });
}

export function addAcceptRewind(program: Command, terminal: Terminal): void {
  withRequest(withAccess(program.command("accept-rewind")))
    .argument("<group>", "protection group that runs at this site")
    .summary("replicate what a restored API server holds")
    .description(
      "When the API server of the active site was restored from a backup, its past is no change: replication is " +
        "paused and the standby keeps what it has. This says that what the API server holds now is right, for all " +
        "groups that run there. Deletes still pass the guard.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} accept-rewind shop --context east`)
    .action(async (name: string, flags: RequestFlags) => {
      const client = await openSite(flags, terminal);
      terminal.out(`${await askGroup(client, name, newRequest("accept-rewind"), terminal)}\n`);
    });
}

export function addPurge(program: Command, terminal: Terminal): void {
  withRequest(withAccess(program.command("purge")))
    .argument("<group>", "protection group, deleted at the site that ran it")
    .requiredOption("--site <site>", "site whose copies are removed; it must not be the active one")
    .option("--dry-run", "list what would be removed, and remove nothing")
    .summary("remove a standby's copies of a group")
    .description(
      "Deleting a group leaves the standby's copies in place. This removes them, last applied first removed. While the " +
        "group is there only --dry-run is taken: its copies would come back.",
    )
    .addHelpText("after", `\nExample:\n  ${terminal.program} purge shop --site west --dry-run --context west`)
    .action(async (name: string, flags: RequestFlags & { site: string; dryRun?: boolean }) => {
      const client = await openSite(flags, terminal);
      const group = await getGroup(client, name, terminal.signal);
      if (group.status.active === flags.site || group.status.role === "active") {
        throw new LifeboatError("FailoverRefused", `${flags.site} runs ${name}; its objects are not copies`, {
          hint: "purge the other site, once the group is deleted here",
        });
      }
      const message = await askGroup(
        client,
        name,
        newRequest("purge", { dryRun: flags.dryRun === true, site: flags.site }),
        terminal,
      );
      if (flags.dryRun === true) {
        const keys = (await readResult(client, flags.namespace, name, terminal.signal)) as string[];
        for (const key of keys) terminal.out(`would remove ${key}\n`);
      }
      terminal.out(`${message}\n`);
    });
}

export function withRequest(command: Command): Command {
  return command.option("-n, --namespace <name>", "namespace of the agent", defaultNamespace);
}

/** Sends the request and waits for its outcome; resolves with the agent's message. */
export async function askGroup(
  client: KubeClient,
  name: string,
  request: GroupRequest,
  terminal: Terminal,
): Promise<string> {
  await annotateGroup(client, name, { [requestAnnotation]: JSON.stringify(request) }, terminal.signal);
  const endMs = Date.now() + answerTimeoutMs;
  while (Date.now() < endMs) {
    const last = (await getGroup(client, name, terminal.signal)).status.lastRequest;
    if (last?.id === request.id && last.outcome === "Done") return last.message ?? "";
    if (last?.id === request.id && last.outcome === "Refused") {
      throw new LifeboatError("FailoverRefused", last.message ?? "refused");
    }
    await delay(askEveryMs, undefined, { signal: terminal.signal });
  }
  await annotateGroup(client, name, { [requestAnnotation]: null }, terminal.signal);
  throw new LifeboatError("Timeout", "the agent did not answer; the request was withdrawn", {
    hint: `is the agent of ${client.server} running? \`${terminal.program} status ${name}\``,
  });
}

export async function readResult(
  client: KubeClient,
  namespace: string,
  group: string,
  signal: AbortSignal,
): Promise<unknown> {
  const map = await client.get(resources.configMaps, { namespace, name: resultName(group) }, { signal });
  const { result } = (map["data"] ?? {}) as { result?: string };
  return JSON.parse(result ?? "[]");
}
