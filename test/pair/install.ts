/** What has to be at a site before its agent starts: the CRDs and the agent's namespace. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { LifeboatError } from "../../src/errors.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { waitFor } from "./wait.ts";

const crdFolder = fileURLToPath(new URL("../../charts/lifeboat/crds", import.meta.url));
const establishLimitMs = 30_000;

export const agentNamespace = "lifeboat-system";

async function readCrds(): Promise<KubeObject[]> {
  const files = (await readdir(crdFolder).catch(() => [])).filter((name) => name.endsWith(".yaml")).toSorted();
  if (files.length === 0) throw new LifeboatError("NotFound", `no CRDs in ${crdFolder}`);
  const texts = await Promise.all(files.map(async (name) => readFile(join(crdFolder, name), "utf8")));
  return texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as KubeObject));
}

/** `true` when the API server serves what the CRD describes. */
export function isEstablished(crd: KubeObject): boolean {
  // Just created, it has a status whose conditions are null.
  const { conditions } = (crd["status"] ?? {}) as { conditions?: { type: string; status: string }[] | null };
  return conditions?.some(({ type, status }) => type === "Established" && status === "True") ?? false;
}

/** Installs Lifeboat's CRDs and makes the agent's namespace; harmless when both are there. */
export async function installSite(client: KubeClient, { signal }: { readonly signal: AbortSignal }): Promise<void> {
  const write = { fieldManager: "bed", force: true, signal };
  await client.apply(
    resources.namespaces,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: agentNamespace } },
    write,
  );
  for (const crd of await readCrds()) {
    await client.apply(resources.crds, crd, write);
    const { name } = crd.metadata;
    await waitFor(
      `CRD ${name}`,
      async () => (isEstablished(await client.get(resources.crds, { name }, { signal })) ? true : undefined),
      { limitMs: establishLimitMs, everyMs: 100, signal },
    );
  }
}
