/** The bare loop as a child process. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { LifeboatError } from "../../../src/errors.ts";

const loopPath = fileURLToPath(new URL("loop.ts", import.meta.url));

/** Runs `work` while the bare loop forwards what changes in the namespaces. */
export async function withBareLoop<T>(
  { from, to, namespaces }: { readonly from: string; readonly to: string; readonly namespaces: readonly string[] },
  work: () => Promise<T>,
): Promise<T> {
  const child = spawn(process.execPath, [loopPath, from, to, ...namespaces], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const lines = createInterface({ input: child.stdout });
    const first = await Promise.race([once(lines, "line"), once(child, "exit")]);
    if (first[0] !== "ready") throw new LifeboatError("ProgramFailed", "the bare loop did not start");
    return await work();
  } finally {
    child.kill("SIGKILL");
  }
}
