import { mkdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

export interface EndedJournal {
  /** Objects that it keeps because they differed from what took over. */
  readonly divergent: number;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
}

/**
 * Removes the closed journal of a group that has ended, or, where it keeps what nobody has looked at, moves it beside
 * the others' folder to where nobody opens or removes it. Returns its new path then.
 */
export async function endJournal(path: string, { divergent, wallMs }: EndedJournal): Promise<string | undefined> {
  if (divergent === 0) {
    await rm(path, { force: true });
    return undefined;
  }
  const folder = join(dirname(dirname(path)), "ended");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const kept = join(folder, `${basename(path, ".db")}-${Math.floor(wallMs / 1000)}.db`);
  await rename(path, kept);
  return kept;
}
