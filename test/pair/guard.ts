/** A node guard on each site's real node, as a unit of the node would run it. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cgroupPath } from "../bed/cgroups.ts";
import type { BedProcess } from "../bed/processes.ts";
import { realNodeName } from "../bed/realnode.ts";
import type { Bed } from "../bed/running.ts";
import { guardName, pairName, writeConfig } from "./files.ts";
import type { GuardFile, TlsFiles } from "./files.ts";

/** As an installed one is started. */
const program = fileURLToPath(new URL("../../src/lifeboat.mjs", import.meta.url));

export interface GuardLayout {
  readonly dir: string;
  readonly site: string;
  readonly tls: TlsFiles;
  /** Of the site's agent, or agents. */
  readonly agentAddress: string | string[];
  readonly logLevel: GuardFile["logLevel"];
  /** Fields that are put into the configuration file. */
  readonly change?: Partial<GuardFile>;
}

/** Writes the configuration of a site's guard and returns its path. */
export async function writeGuardConfig(bed: Bed, layout: GuardLayout): Promise<string> {
  const { dir, site, tls, agentAddress, logLevel, change } = layout;
  const file: GuardFile = {
    site,
    pair: pairName,
    node: realNodeName(site),
    agent: { address: agentAddress },
    tls,
    dataDir: join(bed.site(site).dir, "guard-data"),
    podLogsDir: join(bed.site(site).dir, "node", "pod-logs"),
    cgroupRoot: cgroupPath(bed.id, site),
    logLevel,
    ...change,
  };
  return writeConfig(join(dir, `${guardName(site)}.yaml`), file);
}

/** Starts a guard; it is started again with its site, before container runtime and kubelet. */
export function spawnGuard(bed: Bed, site: string, configPath: string): BedProcess {
  const argv = [process.execPath, program, "guard", "--config", configPath];
  return bed.site(site).spawn("guard", argv, { network: "site", atBoot: true });
}
