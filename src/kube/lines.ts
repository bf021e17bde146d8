import type { Readable } from "node:stream";
import { LifeboatError } from "../errors.ts";

/** Longest line of a watch: etcd takes 1.5 MiB an object; its JSON and escapes can make several times that. */
const lineMaxBytes = 32 * 1024 * 1024;
const newline = 0x0a;

/**
 * Splits a body into lines and hands each over as text, in order, synchronously. Resolves at the end of the body;
 * a last line without a newline is handed over too. Rejects with what the body or `handle` throws.
 */
export async function forEachLine(body: Readable, handle: (line: string) => void): Promise<void> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  for await (const piece of body) {
    const chunk = piece as Buffer;
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      if (pendingBytes === 0) {
        if (end > start) handle(chunk.toString("utf8", start, end));
      } else {
        pending.push(chunk.subarray(start, end));
        handle(Buffer.concat(pending).toString("utf8"));
        pending = [];
        pendingBytes = 0;
      }
      start = end + 1;
    }
    if (start === chunk.length) continue;
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > lineMaxBytes) {
      throw new LifeboatError("KubeRejected", `a line of a watch is longer than ${lineMaxBytes} bytes`, {
        op: "kube.watch",
      });
    }
  }
  if (pendingBytes > 0) handle(Buffer.concat(pending).toString("utf8"));
}
