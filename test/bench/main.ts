/** `npm run bench -- NAME [--json]` */
import { Command } from "commander";
import { messageOf, LifeboatError } from "../../src/errors.ts";
import type { Bench, BenchResult } from "./bench.ts";

interface Listed {
  readonly about: string;
  readonly load: () => Promise<{ readonly bench: Bench }>;
}

const benches: Readonly<Record<string, Listed>> = {
  "first-sync": {
    about: "10,000 objects that the standby does not have, against a bare server-side-apply writer",
    load: async () => import("./first-sync.ts"),
  },
  lag: {
    about: "50 changes/s: acknowledged at the source until visible at the standby, against watch + patch",
    load: async () => import("./lag.ts"),
  },
  burst: {
    about: "200 changes/s over 500 objects with controllers running, where a bare loop falls behind",
    load: async () => import("./burst.ts"),
  },
  resync: {
    about: "a link cut for 60 s while 1 % of 10,000 objects change, against a first sync",
    load: async () => import("./resync.ts"),
  },
  footprint: {
    about: "memory and idle processor time of both agents at 10,000 objects",
    load: async () => import("./footprint.ts"),
  },
  failover: {
    about:
      "200 workloads after the loss of a site, against the bound; a switchover, against the pods' own stop and start",
    load: async () => import("./failover.ts"),
  },
  witness: {
    about: "leases, grants and memory of the witness",
    load: async () => import("./witness.ts"),
  },
};

function printed(result: BenchResult): string {
  const width = Math.max(...Object.keys(result).map((key) => key.length));
  return Object.entries(result)
    .map(([key, value]) => `  ${key.padEnd(width)}  ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("\n");
}

const interrupted = new AbortController();
process.on("SIGINT", () => interrupted.abort(new Error("interrupted")));
process.on("SIGTERM", () => interrupted.abort(new Error("interrupted")));

const list = Object.entries(benches)
  .map(([name, { about }]) => `  ${name.padEnd(12)}${about}`)
  .join("\n");
const program = new Command("npm run bench --")
  .description("Measures Lifeboat against the barest program that does the same, on real API servers.")
  .argument("<name...>", "benches to run")
  .option("--json", "print the result as JSON in the last line of stdout", false)
  .addHelpText("after", `\nBenches:\n${list}\n\nExample:\n  npm run bench -- first-sync --json`)
  .action(async (names: readonly string[], { json }: { readonly json: boolean }) => {
    for (const name of names) {
      const listed = benches[name];
      if (listed === undefined)
        throw new LifeboatError("NotFound", `there is no bench ${name}`, { hint: `benches:\n${list}` });
      const result = await (await listed.load()).bench({ json, signal: interrupted.signal });
      process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${name}\n${printed(result)}\n`);
    }
  });

try {
  await program.parseAsync();
  process.exit(0);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  if (error instanceof LifeboatError && error.hint !== undefined) process.stderr.write(`Hint: ${error.hint}\n`);
  process.exit(interrupted.signal.aborted ? 130 : 1);
}
