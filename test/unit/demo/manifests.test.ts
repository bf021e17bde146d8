import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { install } from "../../demo/install.ts";
import { builtInApp, parseManifests, readManifests } from "../../demo/manifests.ts";
import { SmallServer } from "./small-server.ts";

const { signal } = new AbortController();
const progress = (): void => undefined;

const good = `
apiVersion: v1
kind: ConfigMap
metadata: { name: good, namespace: shop }
`;

test("a broken document is named with its place and why, and the others of its file are read", () => {
  const text = `${good}---\nkind: ConfigMap\n  name: [broken\n---\n${good.replace("good", "better")}`;
  const { objects, broken } = parseManifests(text, "10-app.yaml");
  expect(objects.map(({ metadata }) => metadata.name)).toEqual(["good", "better"]);
  expect(broken).toHaveLength(1);
  expect(broken[0]?.object).toMatch(/^10-app\.yaml, document 2, line [67]$/);
  expect(broken[0]?.reason).toMatch(/\w/);
});

test("what is YAML and no object is named with its place", () => {
  const { objects, broken } = parseManifests(`${good}---\n- a list\n---\nkind: Job\nmetadata: {}\n`, "a.yaml");
  expect(objects).toHaveLength(1);
  expect(broken.map(({ object }) => object)).toEqual(["a.yaml, document 2, line 6", "a.yaml, document 3, line 8"]);
  expect(broken[0]?.reason).toContain("not a Kubernetes object");
});

test("an integer beyond 2^53 is sent as it stands in the manifest", async () => {
  const { objects } = await readManifests(builtInApp);
  const coupon = objects.find(({ kind }) => kind === "Coupon");
  expect(JSON.stringify(coupon)).toContain('"serial":9007199254740993');
});

test("a folder is read in name order, lists are taken apart, and a file that cannot be read is named", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-app-"));
  try {
    await writeFile(join(folder, "20.yaml"), good);
    await writeFile(
      join(folder, "10.json"),
      `{"kind":"List","apiVersion":"v1","items":[${listed("a")},${listed("b")}]}`,
    );
    await writeFile(join(folder, "30.yml"), "a: &a [*a, *b]");
    await writeFile(join(folder, "notes.txt"), "no manifest");
    const { objects, broken } = await readManifests(folder);
    expect(objects.map(({ metadata }) => metadata.name)).toEqual(["a", "b", "good"]);
    expect(broken.map(({ object }) => object)).toEqual(["30.yml, document 1, line 1"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

function listed(name: string): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "shop" } });
}

test("an object with a beginning of a name is created, and followed under the name that it got", async () => {
  await using east = await SmallServer.start();
  const { objects } = parseManifests(`${good}---\n${good.replace("name: good", "generateName: run-")}`, "a.yaml");
  const installed = await install(east.client, objects, { signal, progress });
  expect(installed.refused).toEqual([]);
  expect(installed.namespaces).toEqual(["shop"]);
  expect([...installed.resources.keys()]).toEqual([
    "/Namespace//shop",
    "/ConfigMap/shop/good",
    "/ConfigMap/shop/run-x7k2p",
  ]);
  expect(east.objects.has("/api/v1/namespaces/shop/configmaps/run-x7k2p")).toBe(true);
});

test("what is refused is listed with the reason and the others are installed", async () => {
  await using east = await SmallServer.start();
  east.refuse = (method, path) =>
    method === "POST" && path.endsWith("configmaps") ? "the webhook says nothing" : undefined;
  const { objects } = parseManifests(`${good}---\n${good.replace("name: good", "generateName: run-")}`, "a.yaml");
  const installed = await install(east.client, objects, { signal, progress });
  expect(installed.refused).toEqual([
    { object: "/ConfigMap/shop/good", reason: "the webhook says nothing" },
    { object: "/ConfigMap/shop/run-*", reason: "the webhook says nothing" },
  ]);
  expect([...installed.resources.keys()]).toEqual(["/Namespace//shop"]);
});

test("namespaces of the cluster itself are left alone", async () => {
  await using east = await SmallServer.start();
  const { objects } = parseManifests(good.replace("shop", "kube-system"), "a.yaml");
  const installed = await install(east.client, objects, { signal, progress });
  expect(installed.namespaces).toEqual([]);
  expect(installed.refused).toEqual([
    { object: "/ConfigMap/kube-system/good", reason: "not tried: kube-system is each cluster's own" },
  ]);
});

test("an API server that answers nothing ends in a list of everything", async () => {
  await using east = await SmallServer.start();
  east.refuse = () => "etcd is gone";
  const { objects } = parseManifests(good, "a.yaml");
  const installed = await install(east.client, objects, { signal, progress });
  expect(installed.namespaces).toEqual([]);
  expect(installed.refused.map(({ object }) => object)).toContain("/ConfigMap/shop/good");
});
