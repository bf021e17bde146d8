/** A user who changes one object ten times a second; what was acknowledged and is not at the survivor is lost. */
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import { ledger, namespace } from "./app.ts";

const everyMs = 100;
const writeLimitMs = 2_000;
const place = { namespace, name: ledger };
const { signal: never } = new AbortController();

export class Writer {
  /** The last number that the API server has acknowledged. */
  acknowledged = 0;
  readonly #client: KubeClient;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  constructor(client: KubeClient, from: number) {
    this.#client = client;
    this.acknowledged = from;
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    for (let seq = this.acknowledged + 1; !this.#stop.signal.aborted; seq++) {
      // To its end: what is cut off in the middle may have been written, and nobody knows.
      const options = { fieldManager: "user", timeoutMs: writeLimitMs, signal: never };
      const patch = { type: "merge", body: { data: { seq: `${seq}` } } } as const;
      await this.#client.patch(resources.configMaps, place, patch, options).then(
        () => (this.acknowledged = seq),
        () => undefined,
      );
      await delay(everyMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  /** Resolves when the last write is answered, or given up. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

/** The number that a site has. */
export async function numberAt(client: KubeClient, signal: AbortSignal): Promise<number> {
  const found = await client.get(resources.configMaps, place, { signal });
  return Number((found["data"] as { seq?: string }).seq ?? 0);
}
