import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { resources } from "../../src/kube/resource.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import {
  configMap,
  eventually,
  keysOf,
  keysOfObjects,
  makeNamespace,
  selecting,
  startSource,
  Writer,
  type Source,
} from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** A user who may list and watch some things, and not others. */
const user = `limited-${process.pid}`;
const rbac = "rbac.authorization.k8s.io";
let admin: Source;
let writer: Writer;
let limited: string;

beforeAll(async () => {
  admin = await startSource(kubeconfigs().east);
  writer = new Writer(admin);
  const config = parse(await readFile(kubeconfigs().east, "utf8")) as { users: { user: Record<string, unknown> }[] };
  for (const entry of config.users) entry.user["as"] = user;
  limited = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "kubeconfig");
  await writeFile(limited, stringify(config), { mode: 0o600 });
});
afterAll(async () => {
  await admin.stop();
});

function role(kind: "ClusterRole" | "Role", name: string, resources: string[], namespace?: string): KubeObject[] {
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  const verbs = ["get", "list", "watch"];
  return [
    { apiVersion: `${rbac}/v1`, kind, metadata, rules: [{ apiGroups: [""], resources, verbs }] },
    {
      apiVersion: `${rbac}/v1`,
      kind: `${kind}Binding`,
      metadata,
      roleRef: { apiGroup: rbac, kind, name },
      subjects: [{ apiGroup: rbac, kind: "User", name: user }],
    },
  ];
}

test("a kind that may not be read is reported, and the others go on", async () => {
  const ns = `${user}-a`;
  const space = await makeNamespace(writer, ns);
  const config = configMap(ns, "readable");
  const secret: KubeObject = { apiVersion: "v1", kind: "Secret", metadata: { name: "hidden", namespace: ns } };
  const grants = role("ClusterRole", ns, ["namespaces", "configmaps"]);
  await writer.apply(config, secret, ...grants);
  const source = await startSource(limited);
  try {
    const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    await follower.capture.whenSynced({ signal: source.signal });
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, config)));
    const secrets = source.pool.states().find((state) => state.kind === "Secret" && state.namespace === undefined);
    expect(secrets?.phase).toBe("forbidden");
    expect(secrets?.error?.code).toBe("KubeForbidden");
    expect(follower.capture.isKnown(keysOfObjects(secret)[0] ?? "")).toBe(false);
    expect(follower.capture.isKnown(keysOfObjects(configMap(ns, "absent"))[0] ?? "")).toBe(true);
    await writer.apply(configMap(ns, "readable", { later: "yes" }));
    await eventually(() =>
      expect(follower.held.get(keysOfObjects(config)[0] ?? "")?.["data"]).toEqual({ later: "yes" }),
    );
  } finally {
    await source.stop();
    await writer.delete(...grants);
  }
});

test("permission in the group's namespaces alone is enough for their objects", async () => {
  const ns = `${user}-b`;
  await makeNamespace(writer, ns);
  const config = configMap(ns, "mine");
  await writer.apply(config, ...role("Role", "reader", ["configmaps"], ns));
  const source = await startSource(limited);
  try {
    const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    await follower.capture.whenSynced({ signal: source.signal });
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(config)));
    await writer.apply(configMap(ns, "second"));
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(config, configMap(ns, "second"))));
    await writer.delete(config);
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(configMap(ns, "second"))));
  } finally {
    await source.stop();
  }
});

test("what was needed by something that cannot be read any more is not known to be unneeded", async () => {
  const ns = `${user}-c`;
  await makeNamespace(writer, ns);
  const picked = { matchLabels: { pick: ns } };
  const [needed, other] = [configMap(ns, "needed"), configMap(ns, "other")];
  const role1 = `${user}-role`;
  const clusterRole: KubeObject = {
    apiVersion: `${rbac}/v1`,
    kind: "ClusterRole",
    metadata: { name: role1 },
    rules: [],
  };
  const binding: KubeObject = {
    apiVersion: `${rbac}/v1`,
    kind: "RoleBinding",
    metadata: { name: "uses", namespace: ns, labels: { pick: ns } },
    roleRef: { apiGroup: rbac, kind: "ClusterRole", name: role1 },
    subjects: [],
  };
  const web: KubeObject = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: ns, labels: { pick: ns } },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: ns } },
      template: {
        metadata: { labels: { app: ns } },
        spec: { containers: [{ name: "c", image: "i", envFrom: [{ configMapRef: { name: "needed" } }] }] },
      },
    },
  };
  const grants = role("ClusterRole", ns, ["namespaces", "configmaps"]);
  const roles: KubeObject[] = role("ClusterRole", `${ns}-roles`, ["clusterroles"]).map((object) =>
    "rules" in object
      ? { ...object, rules: [{ apiGroups: [rbac], resources: ["clusterroles"], verbs: ["get", "list", "watch"] }] }
      : object,
  );
  await writer.apply(needed, other, clusterRole, binding, web, ...grants, ...roles);
  const spec = selecting({ namespaces: { names: [ns] }, objects: { selector: picked, references: true } });
  const [needs, others, absent, needsRole] = [needed, other, configMap(ns, "absent"), clusterRole].map((object) =>
    keyOf(object),
  );
  const before = admin.capture(ns, spec);
  await before.capture.whenSynced({ signal: admin.signal });
  await eventually(() => expect(keysOf(before, ns)).toEqual(expect.arrayContaining([needs, needsRole])));
  before.stop();
  // The next agent may not read Deployments and RoleBindings.
  const source = await startSource(limited);
  try {
    const follower = source.capture(ns, spec);
    await follower.capture.whenSynced({ signal: source.signal });
    expect(keysOf(follower, ns)).not.toContain(needs);
    expect(follower.capture.isKnown(needs ?? "")).toBe(false);
    expect(follower.capture.isKnown(needsRole ?? "")).toBe(false);
    expect(follower.capture.isKnown(absent ?? "")).toBe(true);
    // Nobody can tell this one from those that were needed.
    expect(follower.capture.isKnown(others ?? "")).toBe(false);
    const kinds = ["*/*", "Pod*", "Service*", "Secret", "Persistent*", "Replication*", "Resource*", "Limit*"];
    const exclude = [{ kinds: [...kinds, "Endpoints", "PodTemplate", "Binding"] }];
    const without = source.capture(`${ns}-x`, selecting({ ...spec.select, exclude }));
    await without.capture.whenSynced({ signal: source.signal });
    expect(without.capture.isKnown(needs ?? ""), "kinds that are excluded need nothing").toBe(true);
  } finally {
    await source.stop();
    await writer.delete(...grants, ...roles, clusterRole);
  }
});

test("what an API server refused while it was not ready is read at once when it is", async () => {
  const ns = `${user}-c`;
  await makeNamespace(writer, ns);
  const config = configMap(ns, "late");
  await writer.apply(config, ...role("ClusterRole", `${ns}-spaces`, ["namespaces"]));
  const source = await startSource(limited);
  try {
    const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    await follower.capture.whenSynced({ signal: source.signal });
    source.client.readiness.note(false);
    source.client.readiness.note(false);
    // As in the first moments of an API server, which does not know yet who may do what.
    await writer.apply(...role("ClusterRole", ns, ["configmaps"]));
    await eventually(() => source.client.find(resources.configMaps, { namespace: ns, name: "late" }, source));
    const phaseOf = () => source.pool.states().find(({ kind }) => kind === "ConfigMap")?.phase;
    expect(phaseOf()).toBe("forbidden");
    // By itself it is tried again after 30 to 60 s.
    source.client.readiness.note(true);
    await eventually(() => expect(phaseOf()).toBe("watching"));
    await eventually(() => expect(keysOf(follower, ns)).toContain(keysOfObjects(config)[0]));
  } finally {
    await source.stop();
    await writer.delete(
      ...role("ClusterRole", `${ns}-spaces`, ["namespaces"]),
      ...role("ClusterRole", ns, ["configmaps"]),
    );
  }
});
