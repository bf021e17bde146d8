import { execFile } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KubeObject } from "../../src/objects/object.ts";
import { absorbRequest, applyRequest, restoreRequest } from "../../src/render/ownership/requests.ts";
import { render } from "../../src/render/render.ts";
import type { Role, SourceRecord } from "../../src/render/types.ts";
import { ensurePrograms } from "../bed/programs.ts";
import { manager, recordOf, Site, specFor } from "./render-site.ts";
import { kubeconfigs } from "./sites.ts";

/** After a promotion kubectl, GitOps and autoscalers meet the field owners that they had at the source. */

const run = promisify(execFile);
const namespace = `owners-${process.pid}`;
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";
let east: Site;
let west: Site;

beforeAll(async () => {
  [east, west] = await Promise.all([Site.open("east"), Site.open("west")]);
  for (const site of [east, west])
    await site.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
});

afterAll(async () => {
  for (const site of [east, west]) {
    await site.remove({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
    await site.client.close();
  }
});

interface Container {
  name: string;
  image: string;
  env?: { name: string; value: string }[];
}

function web(name: string, containers: Container[], spec: Record<string, unknown> = { replicas: 3 }): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      ...spec,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers } },
    },
  };
}

const both: Container[] = [
  {
    name: "web",
    image: "any/image:1",
    env: [
      { name: "A", value: "1" },
      { name: "B", value: "2" },
    ],
  },
];
const onlyA: Container[] = [{ name: "web", image: "any/image:1", env: [{ name: "A", value: "1" }] }];

function renderAs(record: SourceRecord, role: Role): KubeObject {
  const context = {
    spec: specFor(namespace),
    group: "shop",
    site: "west",
    source: "east",
    role,
    epoch: "1.1",
    facts: {},
  };
  const [object] = render(record, context).objects;
  if (object === undefined) throw new Error("nothing to apply");
  return object;
}

/** The recipe of src/render/ownership/owners.ts, with retries where a controller writes in between. */
async function promote(record: SourceRecord): Promise<KubeObject> {
  const active = renderAs(record, "active");
  await untilUndisturbed(active, await west.get(active), async (live) => {
    const absorb = absorbRequest(live, manager);
    return absorb === undefined ? live : west.patch(active, absorb);
  });
  const applied = await west.patch(active, applyRequest(active, manager));
  return untilUndisturbed(active, applied, (live) =>
    west.patch(active, restoreRequest(live, record.managers, active, manager)),
  );
}

async function untilUndisturbed(
  object: KubeObject,
  first: KubeObject,
  step: (live: KubeObject) => Promise<KubeObject>,
): Promise<KubeObject> {
  for (let live = first; ; live = await west.get(object)) {
    try {
      return await step(live);
    } catch (error) {
      if (!String(error).includes("modified")) throw error;
    }
  }
}

const serverSide = async (site: Site, object: KubeObject, fieldManager: string, force = false): Promise<KubeObject> =>
  site.patch(object, {
    contentType: "application/apply-patch+yaml",
    query: { fieldManager, force: String(force) },
    body: object,
  });

async function scale(site: Site, object: KubeObject, replicas: number): Promise<void> {
  const query = { fieldManager: "kube-controller-manager" };
  const request = { contentType: "application/merge-patch+json" as const, query, body: { spec: { replicas } } };
  await site.patch(object, request, "scale");
}

async function kubectlApply(site: "east" | "west", object: KubeObject): Promise<void> {
  const file = join(await mkdtemp(join(tmpdir(), "lifeboat-owners-")), "manifest.json");
  await writeFile(file, JSON.stringify(object));
  const programs = await ensurePrograms(["kubectl"]);
  await run(programs.get("kubectl") ?? "kubectl", [`--kubeconfig=${kubeconfigs()[site]}`, "apply", "-f", file]);
}

/** The record keeps the manifest that kubectl last applied. */
function recordWithManifest(live: KubeObject): SourceRecord {
  const record = recordOf(live);
  const text = live.metadata.annotations?.[lastApplied];
  if (text === undefined) return record;
  const annotations = { ...record.object.metadata.annotations, [lastApplied]: text };
  return { ...record, object: { ...record.object, metadata: { ...record.object.metadata, annotations } } };
}

const envOf = (live: KubeObject) =>
  (live["spec"] as { template: { spec: { containers: Container[] } } }).template.spec.containers.map((container) =>
    (container.env ?? []).map(({ name }) => name).join(""),
  );
const replicasOf = (live: KubeObject) => (live["spec"] as { replicas: number }).replicas;
const managersOf = (live: KubeObject) =>
  (live.metadata.managedFields ?? [])
    .filter((entry) => entry.subresource !== "status")
    .map((entry) => `${entry.manager} ${entry.operation} ${entry.subresource ?? ""}`.trim())
    .sort();

describe("after a promotion", () => {
  it("the owners are those of the source and we own nothing", async () => {
    const object = web("plain", both);
    await serverSide(east, object, "gitops");
    await scale(east, object, 5);
    const source = await east.get(object);
    const record = recordOf(source);
    await west.apply(renderAs(record, "standby"));
    const live = await promote(record);
    expect(replicasOf(live)).toBe(5);
    expect(managersOf(live)).toEqual(["gitops Apply", "kube-controller-manager Update scale"]);
  });

  it("what others wrote into the copy is gone, and what the source had removed too", async () => {
    const object = web("drift", both);
    await serverSide(east, object, "gitops");
    await west.apply(renderAs(recordOf(await east.get(object)), "standby"));
    await west.patch(object, {
      contentType: "application/merge-patch+json",
      query: { fieldManager: "kubectl-edit" },
      body: { metadata: { labels: { foreign: "1" } }, spec: { paused: true, minReadySeconds: 7 } },
    });
    await serverSide(east, web("drift", onlyA), "gitops");
    const live = await promote(recordOf(await east.get(object)));
    expect(live.metadata.labels).not.toHaveProperty("foreign");
    expect(live["spec"]).not.toHaveProperty("paused");
    expect(live["spec"]).not.toHaveProperty("minReadySeconds");
    expect(envOf(live)).toEqual(["A"]);
    expect(managersOf(live)).toEqual(["gitops Apply"]);
  });

  it("a server-side apply by the source's manager meets no conflict and removes what it leaves out", async () => {
    const object = web("ssa", both);
    await serverSide(east, object, "gitops");
    const record = recordOf(await east.get(object));
    await west.apply(renderAs(record, "standby"));
    await promote(record);
    const live = await serverSide(west, web("ssa", [{ ...onlyA[0], name: "web", image: "any/image:2" }]), "gitops");
    expect(envOf(live)).toEqual(["A"]);
    await expect(serverSide(west, web("ssa", onlyA), "stranger")).rejects.toThrow("conflict");
  });

  it("an autoscaler scales, and the manifest's own manager does not undo it", async () => {
    const object = web("hpa", both, {});
    await serverSide(east, object, "gitops");
    await scale(east, object, 4);
    const record = recordOf(await east.get(object));
    await west.apply(renderAs(record, "standby"));
    await promote(record);
    await scale(west, object, 6);
    expect(replicasOf(await serverSide(west, web("hpa", onlyA, {}), "gitops"))).toBe(6);
  });

  it("kubectl apply removes what was removed from the manifest, without a warning about a missing annotation", async () => {
    const object = web("client", both);
    await kubectlApply("east", object);
    const record = recordWithManifest(await east.get(object));
    await west.apply(renderAs(record, "standby"));
    await promote(record);
    await kubectlApply("west", web("client", onlyA));
    const live = await west.get(object);
    expect(envOf(live)).toEqual(["A"]);
    expect(managersOf(live)).toEqual(["kubectl-client-side-apply Update"]);
  });

  it("without that annotation kubectl apply would leave removed fields behind", async () => {
    const object = web("forgotten", both);
    await kubectlApply("east", object);
    const record = recordOf(await east.get(object));
    const { [lastApplied]: _manifest, ...annotations } = record.object.metadata.annotations ?? {};
    record.object.metadata.annotations = annotations;
    await west.apply(renderAs(record, "standby"));
    await promote(record);
    await kubectlApply("west", web("forgotten", onlyA));
    expect(envOf(await west.get(object))).toEqual(["AB"]);
  });

  it("what the site's own control plane wrote stays", async () => {
    const object = web("site", both);
    await serverSide(east, object, "gitops");
    const record = recordOf(await east.get(object));
    await west.apply(renderAs(record, "standby"));
    const revision = (live: KubeObject) => live.metadata.annotations?.["deployment.kubernetes.io/revision"];
    await west.eventually(object, (live) => revision(live) !== undefined);
    await promote(record);
    expect(revision(await west.get(object))).toBeDefined();
    const address = async (live: Promise<KubeObject>) => ((await live)["spec"] as { clusterIP: string }).clusterIP;
    const service: KubeObject = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "site", namespace },
      spec: { ports: [{ port: 80 }] },
    };
    const owned = recordOf(await serverSide(east, service, "gitops"));
    const before = await address(west.apply(renderAs(owned, "standby")));
    expect(await address(promote(owned))).toBe(before);
  });
});
