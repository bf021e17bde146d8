import { readFile } from "node:fs/promises";
import { LifeboatError } from "../../src/errors.ts";
import type { BedProcess } from "./processes.ts";
import { findProcesses, isWrapper } from "./processes.ts";
import type { Bed } from "./running.ts";

/**
 * SIGKILL of a program of a site's control plane. Returns what starts it again with the same command line. Throws
 * NotFound when it does not run.
 */
export async function killRestartable(bed: Bed, site: string, program: string): Promise<() => BedProcess> {
  const name = `${site}/${program}`;
  const found = (await findProcesses(bed.dir)).find((each) => each.name === name && !isWrapper(each));
  if (found === undefined) throw new LifeboatError("NotFound", `nothing runs as ${name}`);
  const argv = (await readFile(`/proc/${found.pid}/cmdline`, "utf8")).split("\0").slice(0, -1);
  await bed.faults.kill(name);
  return () => bed.site(site).spawn(program, argv, { network: "site" });
}
