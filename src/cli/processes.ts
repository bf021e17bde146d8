import type { Command } from "commander";
import { agentConfigSchema, loadConfig, witnessConfigSchema } from "../config/agent.ts";
import type { Terminal } from "./terminal.ts";

/** The two long-running processes. Their code is loaded only when one of them is started. */
export function addProcesses(program: Command, terminal: Terminal): void {
  program
    .command("agent")
    .requiredOption("--config <file>", "configuration file")
    .summary("run a site's agent")
    .description("Serves the groups for which this site is active and follows those of its peers, until SIGTERM.")
    .addHelpText("after", `\nExample:\n  ${terminal.program} agent --config /etc/lifeboat/agent.yaml`)
    .action(async (flags: { config: string }) => {
      const config = await loadConfig(flags.config, agentConfigSchema);
      const { runAgent } = await import("../agent/agent.ts");
      await runAgent(config, { env: terminal.env, signal: terminal.signal });
    });
  program
    .command("witness")
    .requiredOption("--config <file>", "configuration file")
    .summary("run the witness")
    .description("Grants leases and epochs to the sites of a pair and decides failover, until SIGTERM.")
    .addHelpText("after", `\nExample:\n  ${terminal.program} witness --config /etc/lifeboat/witness.yaml`)
    .action(async (flags: { config: string }) => {
      const config = await loadConfig(flags.config, witnessConfigSchema);
      const { startWitness } = await import("../witness/start.ts");
      await startWitness(config, { env: terminal.env, signal: terminal.signal });
    });
}
