import { readFile, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { parse, stringify } from "yaml";

/** A way to an API server that can be cut: a TCP relay, and a kubeconfig that goes through it. */
export interface FlakyLink {
  readonly kubeconfigPath: string;
  /** Ends all connections; new ones work. */
  reset(): void;
  /** Connections stay open and carry nothing, new ones are refused, until {@link restore}. */
  cut(): void;
  restore(): void;
  /** Connections stay open and carry nothing for ever; new ones work. */
  stall(): void;
  stop(): void;
}

interface RawKubeconfig {
  clusters: { cluster: Record<string, unknown> & { server: string } }[];
}

/** @param path where the new kubeconfig is written; paths of files in the old one must be absolute */
export async function startFlakyLink(kubeconfig: string, path: string): Promise<FlakyLink> {
  const config = parse(await readFile(kubeconfig, "utf8")) as RawKubeconfig;
  const cluster = config.clusters[0]?.cluster;
  if (cluster === undefined) throw new Error(`no cluster in ${kubeconfig}`);
  const target = new URL(cluster.server);
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((incoming) => {
    if (isCut) {
      incoming.destroy();
      return;
    }
    const outgoing = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    incoming.pipe(outgoing).pipe(incoming);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  cluster.server = `https://127.0.0.1:${port}`;
  await writeFile(path, stringify(config), { mode: 0o600 });
  const reset = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    kubeconfigPath: path,
    reset,
    cut: () => {
      isCut = true;
      for (const socket of sockets) socket.pause().unpipe();
    },
    restore: () => {
      isCut = false;
      reset();
    },
    stall: () => {
      for (const socket of sockets) socket.pause().unpipe();
    },
    stop: () => {
      reset();
      server.close();
    },
  };
}
