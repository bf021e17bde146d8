import type { Command } from "commander";
import { newRequest } from "../config/requests.ts";
import { type AccessFlags, openSite, withAccess } from "./access.ts";
import { askGroup } from "./requests.ts";
import type { Terminal } from "./terminal.ts";

/** Verbs that steer the failover protocol without moving anything. */
const verbs = [
  {
    verb: "abort",
    summary: "call off a switchover that is under way",
    description:
      "Brings the group back to where it ran. Ask the site that runs it. Once the other site has caught up only the " +
      "witness decides, and it may have been committed already.",
  },
  {
    verb: "pause",
    summary: "no automatic failover of a group until it is resumed",
    description: "For maintenance of a site or of the links. Failover and switchover by hand go on to work.",
  },
  {
    verb: "resume",
    summary: "automatic failover again",
    description: "Ends what `pause` began: the witness moves the group by itself again, where its spec lets it.",
  },
] as const;

export function addSteering(program: Command, terminal: Terminal): void {
  for (const { verb, summary, description } of verbs) {
    withAccess(program.command(verb))
      .argument("<group>", "protection group")
      .summary(summary)
      .description(description)
      .addHelpText("after", `\nExample:\n  ${terminal.program} ${verb} shop`)
      .action(async (name: string, flags: AccessFlags) => {
        const client = await openSite(flags, terminal);
        terminal.out(`${await askGroup(client, name, newRequest(verb), terminal)}\n`);
      });
  }
}
