/** `npm run bed -- …`: the test bed as a command. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import { openBed, startBed } from "./bed.ts";
import { destroyBed } from "./cleanup.ts";
import type { CutMode, Direction } from "./faults/rules.ts";
import type { Faults } from "./faults/faults.ts";
import { bedsHome } from "./home.ts";
import type { NodeKind } from "./options.ts";
import { findProcesses, isWrapper } from "./processes.ts";
import { readRecord, readRecords } from "./record.ts";
import { kubeconfigPath } from "./credentials.ts";
import { serverOf, siteDir } from "./site.ts";

interface CommonOptions {
  readonly name: string;
  readonly json?: boolean;
}

interface UpOptions extends CommonOptions {
  readonly sites: readonly string[];
  readonly nodes: NodeKind;
  readonly nodeCount: number;
  readonly controllers: boolean;
  readonly emulatedVersion?: string;
  readonly loopback?: boolean;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** The answer for a program that reads the last line. */
function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Ctrl-C ends what is under way in order; a second one ends it at once. */
function abortOnSignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      say("interrupted: removing what was started (again to leave it)");
      controller.abort(new LifeboatError("Timeout", "interrupted"));
    });
  }
  return controller.signal;
}

async function up(options: UpOptions): Promise<void> {
  const startedAtMs = performance.now();
  const bed = await startBed(
    {
      name: options.name,
      sites: options.sites,
      nodes: options.nodes,
      nodeCount: options.nodeCount,
      controllers: options.controllers,
      install: true,
      report: say,
      ...(options.emulatedVersion === undefined ? {} : { emulatedVersion: options.emulatedVersion }),
      ...(options.loopback === true ? { isolation: "loopback" as const } : {}),
    },
    { signal: abortOnSignals() },
  );
  await bed.release();
  const sites = [...bed.sites.values()].map((site) => ({
    name: site.name,
    kubeconfig: site.kubeconfigPath,
    server: site.server,
  }));
  for (const site of sites) say(`${site.name}  ${site.server}  export KUBECONFIG=${site.kubeconfig}`);
  say(`up in ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s; npm run bed -- down removes it`);
  if (options.json === true) printJson({ sites, startMs: bed.startMs });
  // Connections to the sites are kept open for reuse; nobody will.
  process.exit(0);
}

async function down(options: CommonOptions): Promise<void> {
  const record = await readRecord(join(bedsHome(), options.name));
  if (record !== undefined) await destroyBed(record);
  say(record === undefined ? `no bed named ${options.name} is up` : `${options.name} is gone`);
  if (options.json === true) printJson({ removed: record !== undefined });
}

async function status(options: { readonly json?: boolean }): Promise<void> {
  const beds = await Promise.all(
    (await readRecords(bedsHome())).map(async (record) => {
      const processes = (await findProcesses(record.dir)).filter((found) => !isWrapper(found));
      const of = (site: string): string[] =>
        [...new Set(processes.map((found) => found.name))].filter(
          (name) => name.startsWith(`${site}/`) && !name.endsWith("/init"),
        );
      const sites = record.sites.map((site) => ({
        name: site.name,
        kubeconfig: kubeconfigPath(siteDir(record, site.name), "admin"),
        server: serverOf(record, site.name),
        nodes: site.nodes,
        processes: of(site.name).toSorted(),
      }));
      return { name: record.name, dir: record.dir, isolation: record.isolation, sites, witness: of("witness") };
    }),
  );
  if (options.json === true) return printJson({ beds });
  if (beds.length === 0) say("no bed is up");
  for (const bed of beds) {
    process.stdout.write(`${bed.name} (${bed.isolation}, ${bed.dir})\n`);
    for (const site of bed.sites) {
      const state = site.processes.length === 0 ? "down" : site.processes.map((name) => name.split("/")[1]).join(" ");
      process.stdout.write(`  ${site.name}  ${site.server}  ${state}\n`);
    }
  }
}

/** Hands the terminal to kubectl; its exit code becomes ours. */
async function kubectl(site: string, args: readonly string[], options: CommonOptions): Promise<void> {
  const bed = await openBed(options.name);
  const record = await readRecord(bed.dir);
  const program = record?.programs["kubectl"] ?? "kubectl";
  const child = spawn(program, [`--kubeconfig=${bed.site(site).kubeconfigPath}`, ...args], { stdio: "inherit" });
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => resolve(exitCode ?? 1));
  });
  process.exit(code);
}

async function fault(options: CommonOptions, put: (faults: Faults) => Promise<void>): Promise<void> {
  const bed = await openBed(options.name);
  await put(bed.faults);
  const state = await bed.faults.inForce();
  if (options.json === true) printJson(state);
  else say(`in force: ${JSON.stringify(state)}`);
  process.exit(0);
}

function nameList(text: string): string[] {
  return text.split(",").filter((name) => name !== "");
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError("a number that is not negative");
  return value;
}

function limit(text: string): number | null {
  return text === "none" ? null : positive(text);
}

const nameOption = (): Option => new Option("--name <bed>", "which bed").default("default");
const jsonOption = (): Option => new Option("--json", "the result as JSON, as the last line");

function faultCommands(parent: Command): void {
  const add = (usage: string, description: string): Command =>
    parent.command(usage).description(description).addOption(nameOption()).addOption(jsonOption());
  add("partition <a> <b>", "lose packets between two of SITE, SITE/agent, SITE/api, witness, host")
    .addOption(new Option("--direction <which>").choices(["both", "forth", "back"]).default("both"))
    .addOption(new Option("--mode <how>").choices(["drop", "reset"]).default("drop"))
    .action(async (a: string, b: string, options: CommonOptions & { direction: Direction; mode: CutMode }) =>
      fault(options, async (faults) => faults.partition(a, b, options)),
    );
  add("heal [a] [b]", "end partitions").action(
    async (a: string | undefined, b: string | undefined, options: CommonOptions) =>
      fault(options, async (faults) => faults.heal(a, b)),
  );
  add("kill <target>", "SIGKILL a whole site, or one process of it").action(
    async (target: string, options: CommonOptions) => fault(options, async (faults) => faults.kill(target)),
  );
  add("restore <site>", "start a killed site with the data that it had").action(
    async (site: string, options: CommonOptions) => fault(options, async (faults) => faults.restore(site)),
  );
  add("pause <target>", "halt a site or a process").action(async (target: string, options: CommonOptions) =>
    fault(options, async (faults) => faults.pause(target)),
  );
  add("resume <target>", "let it go on").action(async (target: string, options: CommonOptions) =>
    fault(options, async (faults) => faults.resume(target)),
  );
  add("delay <a> <b>", "make new connections late, each way; 0 ends it")
    .argument("<ms>", "milliseconds", positive)
    .action(async (a: string, b: string, ms: number, options: CommonOptions) =>
      fault(options, async (faults) => faults.delay(a, b, ms)),
    );
  add("bandwidth <endpoint>", "limit what it sends and receives")
    .argument("<mbit>", "Mbit/s, or none", limit)
    .action(async (endpoint: string, mbit: number | null, options: CommonOptions) =>
      fault(options, async (faults) => faults.bandwidth(endpoint, mbit)),
    );
}

function program(): Command {
  const root = new Command("bed")
    .description("Real Kubernetes clusters on this machine")
    .enablePositionalOptions()
    .addHelpText(
      "after",
      "\nExample:\n  npm run bed -- up --nodes real\n  npm run bed -- kubectl east get nodes\n  npm run bed -- fault kill east\n  npm run bed -- down",
    );
  root
    .command("up")
    .description("start a bed and leave it running")
    .addOption(new Option("--sites <names>", "comma-separated").argParser(nameList).default(["east", "west"]))
    .addOption(new Option("--nodes <kind>").choices(["simulated", "real", "none"]).default("simulated"))
    .addOption(new Option("--node-count <n>", "simulated nodes per site").argParser(positive).default(3))
    .option("--no-controllers", "etcd and API server alone; with --nodes none")
    .option("--emulated-version <minor>", "API servers behave like this version, e.g. 1.33")
    .option("--loopback", "no namespaces, as without root")
    .addOption(nameOption())
    .addOption(jsonOption())
    .action(async (options: UpOptions) => up(options));
  root
    .command("down")
    .description("end a bed and remove everything it made")
    .addOption(nameOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => down(options));
  root.command("status").description("what is up").addOption(jsonOption()).action(status);
  root
    .command("kubectl <site> [args...]")
    .description("kubectl as the site's administrator")
    .addOption(nameOption())
    .passThroughOptions()
    .action(async (site: string, args: string[], options: CommonOptions) => kubectl(site, args, options));
  faultCommands(root.command("fault").description("make something go wrong"));
  return root;
}

try {
  await program().parseAsync();
} catch (error) {
  say(`error: ${messageOf(error)}`);
  if (error instanceof LifeboatError && error.hint !== undefined) say(`hint: ${error.hint}`);
  process.exit(1);
}
