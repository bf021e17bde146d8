import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

const pollMs = 2;
const waitMs = 60_000;

/** Resolves as soon as a line that is written from now on is `wanted`; with `false` when none came within a minute. */
export async function onLogLine(
  path: string,
  signal: AbortSignal,
  wanted: (line: string) => boolean,
): Promise<boolean> {
  await using file = await open(path, "r");
  let { size: position } = await file.stat();
  const endMs = performance.now() + waitMs;
  let rest = "";
  while (performance.now() < endMs) {
    signal.throwIfAborted();
    const { bytesRead, buffer } = await file.read({ buffer: Buffer.alloc(65_536), position });
    position += bytesRead;
    const lines = `${rest}${buffer.toString("utf8", 0, bytesRead)}`.split("\n");
    rest = lines.pop() ?? "";
    if (lines.some(wanted)) return true;
    if (bytesRead === 0) await delay(pollMs);
  }
  return false;
}
