import { readFile, rm, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { identityOf, isAlive, thisProcess } from "./identity.ts";

const retryEveryMs = 200;

async function tryTake(path: string): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(await thisProcess()), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

/** A lock whose holder died (or that was cut short while being written, some time ago) belongs to nobody. */
async function breakIfStale(path: string): Promise<void> {
  const text = await readFile(path, "utf8").catch(() => "");
  const holder = identityOf(text);
  if (holder === undefined) {
    await sleep(retryEveryMs);
    if ((await readFile(path, "utf8").catch(() => "gone")) === "") await rm(path, { force: true });
    return;
  }
  if (!(await isAlive(holder))) await rm(path, { force: true });
}

/** Runs `body` while holding the lock file at `path`; waits for other processes, and not for dead ones. */
export async function withFileLock<T>(
  path: string,
  options: { readonly signal?: AbortSignal },
  body: () => Promise<T>,
): Promise<T> {
  while (!(await tryTake(path))) {
    await breakIfStale(path);
    await sleep(retryEveryMs, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  try {
    return await body();
  } finally {
    await rm(path, { force: true });
  }
}
