import { createServer, connect, type AddressInfo, type Socket } from "node:net";

/**
 * A TCP proxy on loopback that can misbehave: `silent` swallows everything and keeps connections open (a half-open
 * link), `cut` resets them and refuses new ones. Counts the bytes that it passed on.
 */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  mode: "pass" | "silent" | "cut";
  /** Where new connections go. */
  target: number;
  /** Bytes from the target to those who connected, and back. */
  bytes: { toClient: number; toTarget: number };
  /** Closes all connections there are. */
  reset(): void;
}

export async function startProxy(target: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((client) => {
    track(client);
    if (proxy.mode === "cut") {
      client.resetAndDestroy();
      return;
    }
    if (proxy.mode === "silent") return;
    const upstream = connect(proxy.target, "127.0.0.1");
    track(upstream);
    forward(upstream, client, (bytes) => (proxy.bytes.toClient += bytes));
    forward(client, upstream, (bytes) => (proxy.bytes.toTarget += bytes));
  });
  const forward = (from: Socket, to: Socket, count: (bytes: number) => void) => {
    from.on("data", (data) => {
      if (proxy.mode !== "pass") return;
      count(data.length);
      if (!to.write(data)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    // A silent link also swallows the news that the other end has closed.
    from.on("end", () => proxy.mode === "pass" && to.end());
    from.on("close", () => proxy.mode === "pass" && to.destroy());
  };
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const proxy: Proxy = {
    port: (server.address() as AddressInfo).port,
    mode: "pass",
    target,
    bytes: { toClient: 0, toTarget: 0 },
    reset: () => {
      // Not resetAndDestroy, which first waits for pending writes and then may leave the socket open.
      for (const socket of sockets) socket.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
  return proxy;
}
