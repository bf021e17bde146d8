import { join } from "node:path";
import type { AgentConfig } from "../config/agent.ts";
import { Journal, type JournalOptions } from "../journal/journal.ts";

/** Where an agent keeps the journal of a group. */
export function journalPath(dataDir: string, group: string): string {
  return join(dataDir, "groups", `${group}.db`);
}

/** Opens or creates the journal of a group. Throws as {@link Journal.open} does. */
export function openJournal(
  group: string,
  { config, journalKey }: { readonly config: AgentConfig; readonly journalKey: Uint8Array | undefined },
  records?: JournalOptions["records"],
): Journal {
  return Journal.open({
    path: journalPath(config.dataDir, group),
    group,
    ...(journalKey === undefined ? {} : { key: journalKey }),
    ...(records === undefined ? {} : { records }),
  });
}
