import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { gateBinding, gatePolicy } from "../../src/admission/policy.ts";
import { parseGroup } from "../../src/config/parse-group.ts";
import { connect } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import { hasCode, messageOf } from "../../src/errors.ts";
import { startBed } from "../bed/bed.ts";
import type { Bed } from "../bed/running.ts";
import { deployment } from "./apply-harness.ts";
import {
  configMap,
  eventually,
  keysOf,
  keysOfObjects,
  makeNamespace,
  protectionGroup,
  selecting,
  startSource,
  Writer,
} from "./capture-harness.ts";
import { startFlakyLink } from "./flaky-link.ts";

/** A control plane of its own, since it is killed and its store is put back to an earlier state. */
let bed: Bed;
const site = "solo";

beforeAll(async () => {
  bed = await startBed({ sites: [site], controllers: false, nodes: "none", install: true });
}, 300_000);
afterAll(async () => {
  await bed.stop();
});

async function restartSite(change: () => Promise<void> = async () => undefined): Promise<void> {
  await bed.faults.kill(site);
  await change();
  await bed.faults.restore(site);
}

test("kubeconfigs that cannot work say what is wrong with them", async () => {
  const { signal } = new AbortController();
  const read = async (path: string): Promise<unknown> => {
    const client = await connect({ from: "files", paths: [path] });
    try {
      return await client.version({ signal });
    } finally {
      await client.close();
    }
  };
  const place = bed.site(site);
  expect(await read(place.kubeconfigPath)).toMatch(/^v1\./);
  const expired = await place.kubeconfigFor({ user: "old", expired: true });
  await expect(read(expired)).rejects.toMatchObject({ code: "KubeconfigInvalid", message: /expired on/ });
  const wrongCa = await place.kubeconfigFor({ user: "lost", wrongCa: true });
  await expect(read(wrongCa)).rejects.toMatchObject({ code: "KubeconfigInvalid", hint: /certificate-authority/ });
  const unknown = await place.kubeconfigFor({ user: "nobody", unknownAuthority: true });
  await expect(read(unknown)).rejects.toMatchObject({ code: "KubeconfigInvalid" });
  await expect(read("/nonexistent/kubeconfig")).rejects.toMatchObject({ code: "KubeconfigInvalid" });
});

test("after an API server that forgot its history is back, the difference is delivered, deletes included", async () => {
  const link = await startFlakyLink(
    bed.site(site).kubeconfigPath,
    join(await mkdtemp(join(tmpdir(), "lifeboat-")), "kubeconfig"),
  );
  const source = await startSource(link.kubeconfigPath);
  const direct = await startSource(bed.site(site).kubeconfigPath);
  const writer = new Writer(direct);
  const ns = "restarted";
  const space = await makeNamespace(writer, ns);
  const objects = Array.from({ length: 20 }, (_, i) => configMap(ns, `object-${i}`, { v: "1" }));
  await writer.apply(...objects);
  const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: source.signal });
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, ...objects)));
  const seen = follower.records.length;

  link.cut();
  await writer.delete(...objects.slice(0, 5));
  const changed = objects.slice(5, 8).map((object) => ({ ...object, data: { v: "2" } }));
  await writer.apply(...changed);
  await restartSite();
  link.restore();
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, ...objects.slice(5))), 60_000);
  await eventually(() =>
    expect(changed.map((object) => follower.held.get(keysOfObjects(object)[0] ?? "")?.["data"])).toEqual(
      changed.map(() => ({ v: "2" })),
    ),
  );
  const differences = follower.records.slice(seen).filter((record) => !record.key.includes("canary"));
  expect(differences.map((record) => record.key).sort()).toEqual(keysOfObjects(...objects.slice(0, 5), ...changed));
  await Promise.all([source.stop(), direct.stop()]);
  link.stop();
});

test("an API server whose store was put back to an earlier state is noticed, and nothing is delivered until a person says so", async () => {
  const etcd = join(bed.site(site).dir, "etcd");
  const backup = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "etcd");
  const ns = "rewound";
  const source = await startSource(bed.site(site).kubeconfigPath);
  const writer = new Writer(source);
  const space = await makeNamespace(writer, ns);
  const early = configMap(ns, "early");
  await writer.apply(early);
  const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: source.signal });
  await restartSite(async () => cp(etcd, backup, { recursive: true }));
  const late = configMap(ns, "late");
  await eventually(async () => writer.apply(late), 60_000);
  for (let i = 0; i < 50; i++) await writer.apply(configMap(ns, "late", { i: String(i) }));
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, early, late)), 60_000);

  await restartSite(async () => {
    await rm(etcd, { recursive: true });
    await cp(backup, etcd, { recursive: true });
  });
  const stateOf = (kind: string) => source.pool.states().find((state) => state.kind === kind)?.phase;
  await eventually(() => expect(stateOf("ConfigMap")).toBe("rewound"), 60_000);
  await eventually(async () => {
    expect(await source.client.find(resources.configMaps, { namespace: ns, name: "late" }, source)).toBeUndefined();
  }, 60_000);
  expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, early, late));
  source.pool.acceptRewind();
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, early)), 60_000);
  await source.stop();
});

test("a gate whose kind its API server does not know concerns no namespace but its group's", async () => {
  // As for half a minute after a start, or where somebody has removed the definition, which is not installed here.
  const source = await startSource(bed.site(site).kubeconfigPath);
  const { client, signal } = source;
  const writer = new Writer(source);
  for (const ns of ["gated", "other"]) await makeNamespace(writer, ns);
  const { group } = parseGroup(protectionGroup("gated", selecting({ namespaces: { names: ["gated"] } })));
  if (group === undefined) throw new Error("the test's group is not valid");
  const subject = { group: "gated", spec: group.spec, site: "east", namespaces: ["gated"] };
  await client.create(resources.admissionPolicies, gatePolicy(subject, { firm: true }), { fieldManager: "me", signal });
  await client.create(resources.admissionBindings, gateBinding(subject), { fieldManager: "me", signal });
  const saidIn = (ns: string) => {
    const object = deployment(ns, "web", { replicas: 0 });
    const made = client.create(resources.deployments, object, { fieldManager: "me", dryRun: true, signal });
    return made.then(() => "taken", messageOf);
  };
  await eventually(async () => expect(await saidIn("gated")).toContain("failed to configure policy"));
  expect(await saidIn("other")).toBe("taken");
  // As it is written while something is to be stopped.
  const loose = gatePolicy(subject, { firm: false });
  await client.apply(resources.admissionPolicies, loose, { fieldManager: "me", force: true, signal });
  await eventually(async () => expect(await saidIn("gated")).toBe("taken"));
  await source.stop();
});

test("nobody at the address is KubeUnreachable, and can be retried", async () => {
  const link = await startFlakyLink(
    bed.site(site).kubeconfigPath,
    join(await mkdtemp(join(tmpdir(), "lifeboat-")), "kubeconfig"),
  );
  link.stop();
  const client = await connect({ from: "files", paths: [link.kubeconfigPath] });
  const error: unknown = await client.version(new AbortController()).catch((thrown: unknown) => thrown);
  expect(hasCode(error, "KubeUnreachable")).toBe(true);
  expect(error).toMatchObject({ retryable: true });
  await client.close();
});
