/** `npm run demo [-- --nodes simulated|real] [--app PATH] [--watch SECONDS] [--json] [--keep]` */
import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import { onTerminal } from "./colours.ts";
import { tell } from "./screen.ts";
import { Stage } from "./stage.ts";
import { story } from "./story.ts";

interface Flags {
  readonly nodes: "simulated" | "real";
  readonly app?: string;
  readonly watch: number;
  readonly json: boolean;
  readonly keep: boolean;
}

/** What a standby's controllers start against all orders would start within the minute. */
const watchSeconds = 60;

function secondsOf(text: string): number {
  const value = Number(text);
  if (!(value >= 1 && value <= 3_600)) throw new InvalidArgumentError("must be seconds from 1 to 3600");
  return value;
}

const canBeReal = process.platform === "linux" && process.getuid?.() === 0;

const interrupted = new AbortController();
let interruptions = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interruptions += 1;
    // The first one cleans up, which takes seconds; whoever insists is let go, and the next bed cleans up.
    if (interruptions > 1) process.exit(130);
    interrupted.abort(new Error("interrupted"));
  });
}

async function run(flags: Flags): Promise<number> {
  const { signal } = interrupted;
  const stage = new Stage({
    nodes: flags.nodes,
    ...(flags.app === undefined ? {} : { app: resolve(flags.app) }),
    watchMs: flags.watch * 1_000,
    signal,
  });
  try {
    await tell(story(stage), {
      terminal: onTerminal && !flags.json,
      print: (line) => console.log(line),
      failed: (title, error) => stage.failed(title, error),
      signal,
    });
    if (stage.failure instanceof LifeboatError && stage.failure.hint !== undefined) {
      process.stderr.write(`Hint: ${stage.failure.hint}\n`);
    }
    if (flags.keep) await keep(stage);
    if (flags.json) process.stdout.write(`${JSON.stringify(stage.result)}\n`);
    return stage.passed ? 0 : 1;
  } catch (error) {
    process.stderr.write(signal.aborted ? "interrupted: cleaning up\n" : `${messageOf(error)}\n`);
    return signal.aborted ? 130 : 1;
  } finally {
    await stage.startedPair?.close();
    if (!flags.keep || signal.aborted) await stage.startedBed?.stop();
  }
}

/** Leaves the clusters running and says how to use and end them. */
async function keep({ startedBed: bed }: Stage): Promise<void> {
  if (bed === undefined) return;
  await bed.release();
  const sites = [...bed.sites.values()].map(({ name, kubeconfigPath }) => `  ${name}: KUBECONFIG=${kubeconfigPath}`);
  process.stdout.write(
    `kept, logs in ${bed.dir}/logs:\n${sites.join("\n")}\n  end it: npm run bed -- down --name ${bed.name}\n`,
  );
}

const program = new Command("npm run demo --")
  .description("Two clusters, an application, a killed site: shows how Lifeboat takes over, and measures it.")
  .addOption(
    new Option("--nodes <kind>", "real: kubelet and containerd, needs root; simulated: pods run in name only")
      .choices(["simulated", "real"])
      .default(canBeReal ? "real" : "simulated"),
  )
  .option("--app <path>", "file or folder of manifests to protect, instead of the built-in application")
  .option("--watch <seconds>", "how long east is watched after its return", secondsOf, watchSeconds)
  .option("--json", "print the result as JSON in the last line of stdout", false)
  .option("--keep", "leave the clusters running", false)
  .addHelpText("after", "\nExample:\n  npm run demo -- --nodes simulated --app ./my-manifests")
  .action(async (flags: Flags) => process.exit(await run(flags)));

await program.parseAsync();
