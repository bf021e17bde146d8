/** Beds as the benches want them. */
import type { GroupSpecInput } from "../../src/config/group.ts";
import { startBed } from "../bed/bed.ts";
import type { BedOptions } from "../bed/options.ts";
import type { Bed } from "../bed/running.ts";
import { mixedObjects } from "./objects.ts";
import { applyAll, createNamespaces } from "./bare/writer.ts";
import { connect } from "../../src/kube/client.ts";
import { say } from "./bench.ts";

/** Writes before the clock starts: connections, caches and the API server's own warming up. */
const warmCount = 300;

/** Runs `work` on a bed of its own. */
export async function withBed<T>(options: BedOptions, signal: AbortSignal, work: (bed: Bed) => Promise<T>): Promise<T> {
  const bed = await startBed({ install: true, report: say, ...options }, { signal });
  try {
    return await work(bed);
  } finally {
    await bed.stop();
  }
}

/** Has an API server do a bit of everything once, in a namespace that no group selects. */
export async function warmUp(kubeconfig: string, signal: AbortSignal): Promise<void> {
  const client = await connect({ from: "files", paths: [kubeconfig] });
  try {
    await createNamespaces(client, ["warm"], { signal });
    await applyAll(kubeconfig, mixedObjects({ count: warmCount, namespaces: ["warm"] }), { concurrency: 16, signal });
  } finally {
    await client.close();
  }
}

/** A group over namespaces, with nothing else out of the ordinary. */
export function plainGroup(namespaces: readonly string[]): GroupSpecInput {
  return {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: [...namespaces] } },
    failover: { profile: "fast", fencing: { policy: "Unproven" } },
  };
}
