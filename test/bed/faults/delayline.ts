/** Carries bytes a fixed time late, in order. */
import { createServer, connect } from "node:net";
import type { Server, Socket } from "node:net";

/** Bytes on the way per direction, past which the sender is made to wait: 1 Gbit/s for a quarter of a second. */
const onTheWayBytesMax = 32 * 1024 * 1024;

function carry(from: Socket, to: Socket, delayMs: number): void {
  let onTheWayBytes = 0;
  from.on("data", (chunk: Buffer) => {
    onTheWayBytes += chunk.length;
    if (onTheWayBytes > onTheWayBytesMax) from.pause();
    setTimeout(() => {
      onTheWayBytes -= chunk.length;
      if (!to.destroyed) to.write(chunk);
      if (onTheWayBytes <= onTheWayBytesMax) from.resume();
    }, delayMs);
  });
  from.on("end", () => setTimeout(() => to.end(), delayMs));
  from.on("error", () => undefined);
  from.on("close", () => setTimeout(() => to.destroy(), delayMs));
}

export interface DelayLine {
  /** Port on 127.0.0.1 that leads to the target. */
  readonly port: number;
  close(): Promise<void>;
}

/** Listens on 127.0.0.1 and forwards each connection to a target, every byte `delayMs` late in each direction. */
export async function openDelayLine(options: {
  readonly host: string;
  readonly port: number;
  readonly delayMs: number;
  /** @default a free one */
  readonly listenPort?: number;
}): Promise<DelayLine> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    sockets.add(near);
    near.on("close", () => sockets.delete(near));
    near.on("error", () => undefined);
    near.pause();
    // The handshake crosses the line twice before the first byte may follow.
    setTimeout(() => {
      const far = connect({ host: options.host, port: options.port, allowHalfOpen: true, noDelay: true });
      carry(near, far, options.delayMs);
      carry(far, near, options.delayMs);
      near.resume();
    }, 2 * options.delayMs);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.listenPort ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
