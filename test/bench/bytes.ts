/** Bytes between the two agents, counted by the kernel where the standby's agent lives. Needs root. */
import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError } from "../../src/errors.ts";
import { run } from "../bed/command.ts";
import { holderOf } from "../bed/places.ts";
import type { Bed } from "../bed/running.ts";

const table = "lifeboat_bench";

export interface ByteCounter {
  /** Bytes in both directions since the last call. */
  take(): Promise<number>;
  /** When data, more than the packets of a handshake, were first received since the last {@link take}. */
  firstByte(limitMs: number, signal: AbortSignal): Promise<number>;
  stop(): Promise<void>;
}

/** A handshake of TLS is some kilobytes; the stream's first answer comes after it. */
const handshakeBytes = 4_000;

export async function startCounting(bed: Bed): Promise<ByteCounter> {
  const peer = bed.site("east").agentAddress;
  const enter = ["nsenter", "-t", String(await holderOf(bed.dir, "west/agent")), "-n", "--"];
  const rules = `table ip ${table} {
  chain in {
    type filter hook input priority filter
    ip saddr ${peer} counter
  }
  chain out {
    type filter hook output priority filter
    ip daddr ${peer} counter
  }
}
`;
  await run([...enter, "nft", "-f", "-"], { input: rules });
  const read = async (): Promise<number> => {
    const text = await run([...enter, "nft", "list", "table", "ip", table]);
    return [...text.matchAll(/bytes (\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
  };
  let taken = await read();
  return {
    async take() {
      const now = await read();
      const since = now - taken;
      taken = now;
      return since;
    },
    async firstByte(limitMs, signal) {
      const endMs = performance.now() + limitMs;
      while (performance.now() < endMs) {
        if ((await read()) - taken > handshakeBytes) return performance.now();
        await delay(20, undefined, { signal });
      }
      throw new LifeboatError("Timeout", `no data from the peer within ${limitMs} ms`);
    },
    async stop() {
      await run([...enter, "nft", "delete", "table", "ip", table]);
    },
  };
}
