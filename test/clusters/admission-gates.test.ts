import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { AdmissionGates, removeGate } from "../../src/admission/gates.ts";
import { gateName, type GateEpoch, type GateState } from "../../src/admission/policy.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { GroupSpecInput } from "../../src/config/group.ts";
import { parseGroup } from "../../src/config/parse-group.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { resources, type KubeResource } from "../../src/kube/resource.ts";
import { type KubeObject, managerOf } from "../../src/objects/object.ts";
import { messageOf } from "../../src/errors.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { installSite } from "../pair/install.ts";
import { ManualClock } from "../unit/failover-runner/manual-clock.ts";
import { eventually } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

const never = new AbortController().signal;
const write = { fieldManager: "somebody", signal: never };
const deployments = resources.deployments;
const pods: KubeResource = { ...resources.configMaps, kind: "Pod", plural: "pods" };
const jobs: KubeResource = { ...resources.deployments, group: "batch", kind: "Job", plural: "jobs" };
const daemonSets: KubeResource = { ...resources.deployments, kind: "DaemonSet", plural: "daemonsets" };

let client: KubeClient;
let counter = 0;
let group = "";
let namespace = "";

beforeAll(async () => {
  client = await connect({ from: "files", paths: [kubeconfigs().west] });
  await installSite(client, { signal: never });
});
afterAll(async () => client.close());
beforeEach(async () => {
  group = `gate-${process.pid}-${counter++}`;
  namespace = group;
  await client.create(
    resources.namespaces,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    write,
  );
});

const openAt = (count: number): GateEpoch => ({ generation: 7, counter: count });
const closedAt = (count: number): Omit<GateState, "open"> => ({
  epoch: openAt(count),
  message: `group ${group} runs at east; move it with: lifeboat failover ${group} --to west`,
});

function startGates(
  select: Partial<GroupSpecInput["select"]> = {},
  mode: GroupSpecInput["mode"] = "ActiveStandby",
  clock: Clock = systemClock,
): AdmissionGates {
  const log = silentLog;
  const gates = new AdmissionGates({
    client,
    site: "west",
    clock,
    random: Math.random,
    log,
  });
  const { group: parsed } = parseGroup({
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: group },
    spec: {
      sites: [{ name: "east" }, { name: "west" }],
      mode,
      select: { namespaces: { names: [namespace] }, ...select },
    },
  });
  if (parsed === undefined) throw new Error("the test's group is not valid");
  gates.cover(group, { spec: parsed.spec, namespaces: [namespace] });
  const life = new AbortController();
  const running = gates.run({ signal: life.signal }).catch(() => undefined);
  onTestFinished(async () => {
    life.abort();
    await running;
    await removeGate(client, group, { signal: never });
  });
  return gates;
}

function workload(name: string, over: Record<string, unknown> = {}, kind = "Deployment"): KubeObject {
  const labels = { app: name };
  const template = { metadata: { labels }, spec: { containers: [{ name: "main", image: "main" }] } };
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name, namespace, labels },
    spec: { selector: { matchLabels: labels }, template, ...over },
  };
}

function pod(name: string, metadata: Partial<KubeObject["metadata"]> = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, ...metadata },
    spec: { containers: [{ name: "main", image: "main" }], serviceAccountName: "default", nodeName: "nowhere" },
  };
}

function job(name: string, suspend: boolean): KubeObject {
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "main" }] } };
  return { apiVersion: "batch/v1", kind: "Job", metadata: { name, namespace }, spec: { suspend, template } };
}

const scale = async (name: string, replicas: number): Promise<unknown> =>
  client.patch(
    deployments,
    { namespace, name },
    { type: "merge", body: { spec: { replicas } } },
    { ...write, subresource: "scale" },
  );
const create = async (resource: KubeResource, object: KubeObject): Promise<KubeObject> =>
  client.create(resource, object, { ...write, dryRun: true });

/** A new policy is looked at within a second. */
const inForce = async (gates: AdmissionGates): Promise<void> => {
  expect(gates.problem(group)).toBeUndefined();
  await eventually(async () => {
    const refusal = await create(pods, pod("probe")).then(() => "not refused", messageOf);
    expect(refusal).toContain("runs at east");
  }, 10_000);
};

describe("a closed gate of a group that runs at both sites", () => {
  const mark = { "lifeboat.dev/singleton": "true" };
  const refusal = "runs at east";

  test("refuses what is single, by a label or an annotation, and nothing else", async () => {
    const gates = startGates({}, "ActiveActive");
    await gates.close(group, closedAt(3), { signal: never });
    expect(gates.problem(group)).toBeUndefined();
    await eventually(async () => {
      const said = await create(pods, pod("probe", { labels: mark })).then(() => "not refused", messageOf);
      expect(said).toContain(refusal);
    }, 10_000);
    const single = workload("leader");
    await expect(
      create(deployments, { ...single, metadata: { ...single.metadata, annotations: mark } }),
    ).rejects.toThrow(refusal);
    await client.create(deployments, workload("web", { replicas: 2 }), write);
    await scale("web", 4);
    await create(pods, pod("free"));
  });

  test("refuses what mounts a claim, which is another volume at each site, unless that is wanted", async () => {
    const gates = startGates({}, "ActiveActive");
    await gates.close(group, closedAt(3), { signal: never });
    const volumes = [{ name: "data", persistentVolumeClaim: { claimName: "data" } }];
    const mounting = (object: KubeObject, labels = {}): KubeObject => {
      const spec = object["spec"] as { template?: { spec: object } };
      const { template } = spec;
      const to =
        template === undefined
          ? { ...spec, volumes }
          : { ...spec, template: { ...template, spec: { ...template.spec, volumes } } };
      return { ...object, metadata: { ...object.metadata, labels }, spec: to };
    };
    await eventually(async () => {
      const said = await create(pods, mounting(pod("probe"))).then(() => "not refused", messageOf);
      expect(said).toContain(refusal);
    }, 10_000);
    await expect(create(deployments, mounting(workload("db")))).rejects.toThrow(refusal);
    await create(deployments, mounting(workload("cache"), { "lifeboat.dev/singleton": "false" }));
    await create(deployments, workload("web"));
    // What a controller makes carries no mark of its owner.
    const by = { apiVersion: "apps/v1", kind: "ReplicaSet", name: "cache-1", uid: "1", controller: true };
    const made = mounting(pod("cache-1-x"));
    await create(pods, { ...made, metadata: { ...made.metadata, ownerReferences: [by] } });
  });

  test("refuses everything in a namespace that is marked, scaling by hand included", async () => {
    await client.create(deployments, workload("web", { replicas: 0 }), write);
    const patch = { type: "merge", body: { metadata: { labels: mark } } } as const;
    await client.patch(resources.namespaces, { name: namespace }, patch, write);
    const gates = startGates({}, "ActiveActive");
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    await expect(scale("web", 1)).rejects.toThrow(refusal);
  });
});

describe("an open gate of a group that node guards stop", () => {
  const bind = (node: string): Promise<unknown> => {
    const target = { apiVersion: "v1", kind: "Node", name: node };
    const binding = { apiVersion: "v1", kind: "Binding", metadata: { name: "p" }, target };
    return client.request("POST", `/api/v1/namespaces/${namespace}/pods/p/binding`, {
      body: JSON.stringify(binding),
      signal: never,
    });
  };
  const refusal = (node: string): string => `no working node guard is on node ${node}`;
  const says = (what: Promise<unknown>): Promise<string> => what.then(() => "not refused", messageOf);

  test("lets pods be placed only where one works", async () => {
    const gates = startGates();
    gates.place(group, ["n1", "n2"]);
    await gates.open(group, openAt(3), { signal: never });
    // There is no such pod; what refuses an unguarded node is asked before that.
    await eventually(async () => expect(await says(bind("n3"))).toContain(refusal("n3")), 10_000);
    expect(await says(bind("n1"))).not.toContain("node guard");
    expect(await says(create(pods, pod("direct")))).toContain(refusal("nowhere"));
    const { nodeName: _none, ...spec } = pod("scheduled")["spec"] as Record<string, unknown>;
    await create(pods, { ...pod("scheduled"), spec });
    await create(deployments, workload("web", { replicas: 2 }));
    gates.place(group, ["n1", "n3"]);
    await eventually(async () => expect(await says(bind("n2"))).toContain(refusal("n2")), 10_000);
    await eventually(async () => expect(await says(bind("n3"))).not.toContain("node guard"), 10_000);
  });

  test("lets them be placed anywhere once guards are not what stops it, also where that was written by hand", async () => {
    const gates = startGates();
    gates.place(group, []);
    await gates.open(group, openAt(3), { signal: never });
    await eventually(async () => expect(await says(bind("n1"))).toContain(refusal("n1")), 10_000);
    gates.place(group, undefined);
    await eventually(async () => expect(await says(bind("n1"))).not.toContain("node guard"), 10_000);
    const patch = { type: "merge", body: { spec: { anyNode: false } } } as const;
    await client.patch(resources.gates, { name: gateName(group) }, patch, write);
    await eventually(async () => {
      const found = await client.find(resources.gates, { name: gateName(group) }, { signal: never });
      expect(found?.["spec"]).toMatchObject({ anyNode: true });
    }, 10_000);
  });

  test("leaves pods that the group does not select alone", async () => {
    const gates = startGates({ objects: { selector: { matchLabels: { app: "db" } } } });
    gates.place(group, []);
    await gates.open(group, openAt(3), { signal: never });
    const db = { ...pod("db"), metadata: { name: "db", namespace, labels: { app: "db" } } };
    await eventually(async () => expect(await says(create(pods, db))).toContain(refusal("nowhere")), 10_000);
    await create(pods, pod("other"));
  });
});

describe("a closed gate", () => {
  test("refuses what would start something, and says what to do", async () => {
    const gates = startGates();
    await client.create(deployments, workload("web", { replicas: 0 }), write);
    await client.create(jobs, job("once", true), write);
    await gates.close(group, closedAt(3), { signal: never });
    expect(gates.problem(group)).toBeUndefined();
    await inForce(gates);
    const refusal = `runs at east; move it with: lifeboat failover ${group} --to west`;
    await expect(scale("web", 1)).rejects.toThrow(refusal);
    const patch = { type: "merge", body: { spec: { replicas: 2 } } } as const;
    await expect(client.patch(deployments, { namespace, name: "web" }, patch, write)).rejects.toThrow(refusal);
    await expect(create(deployments, workload("other"))).rejects.toThrow(refusal);
    await expect(create(jobs, job("now", false))).rejects.toThrow(refusal);
    const resume = { type: "merge", body: { spec: { suspend: false } } } as const;
    await expect(client.patch(jobs, { namespace, name: "once" }, resume, write)).rejects.toThrow(refusal);
    await expect(create(daemonSets, workload("each", {}, "DaemonSet"))).rejects.toThrow(refusal);
    const binding = { apiVersion: "v1", kind: "Binding", metadata: { name: "p" }, target: { kind: "Node", name: "n" } };
    const path = `/api/v1/namespaces/${namespace}/pods/p/binding`;
    await expect(client.request("POST", path, { body: JSON.stringify(binding), signal: never })).rejects.toThrow(
      refusal,
    );
  });

  test("leaves alone what starts nothing, and other namespaces", async () => {
    const gates = startGates();
    await client.create(deployments, workload("web", { replicas: 3 }), write);
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    const label = { type: "merge", body: { metadata: { labels: { note: "x" } } } } as const;
    await client.patch(deployments, { namespace, name: "web" }, label, write);
    await scale("web", 1);
    await scale("web", 0);
    await create(deployments, workload("copy", { replicas: 0 }));
    await create(jobs, job("later", true));
    const held = workload("each", {}, "DaemonSet") as KubeObject & { spec: { template: { spec: object } } };
    held.spec.template.spec = { ...held.spec.template.spec, nodeSelector: { "lifeboat.dev/nowhere": "true" } };
    await create(daemonSets, held);
    const elsewhere = { ...workload("free"), metadata: { name: "free", namespace: "default" } };
    await create(deployments, elsewhere);
  });

  test("lets a standby prove by dry runs that it could start the group, and start nothing", async () => {
    const gates = startGates();
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    const standby = { fieldManager: managerOf(group), signal: never };
    await client.create(deployments, workload("proven"), { ...standby, dryRun: true });
    await client.create(deployments, workload("copy", { replicas: 0 }), standby);
    const { metadata } = await client.get(deployments, { namespace, name: "copy" }, { signal: never });
    const started = {
      ...workload("copy", { replicas: 1 }),
      metadata: { name: "copy", namespace, uid: metadata.uid },
    } as KubeObject;
    await client.apply(deployments, started, { ...standby, force: true, dryRun: true });
    await expect(client.apply(deployments, started, { ...standby, force: true })).rejects.toThrow("runs at east");
    await expect(client.create(deployments, workload("other"), standby)).rejects.toThrow("runs at east");
  });

  test("spares what the group excludes, and the pods of it", async () => {
    const gates = startGates({ exclude: [{ kinds: ["apps/Deployment"], names: ["tmp-*"] }] });
    await client.create(deployments, workload("tmp-a", { replicas: 0 }), write);
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    await scale("tmp-a", 2);
    const owner = (name: string) => ({
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name, uid: "1", controller: true }],
    });
    await create(pods, pod("tmp-a-x", owner("tmp-a-5d8f")));
    await expect(create(pods, pod("web-x", owner("web-5d8f")))).rejects.toThrow("runs at east");
    await expect(create(deployments, workload("web"))).rejects.toThrow("runs at east");
  });

  test("of a group that selects by label keeps to those labels", async () => {
    const gates = startGates({ objects: { selector: { matchLabels: { app: "db" } } } });
    await gates.close(group, closedAt(3), { signal: never });
    await eventually(() => expect(create(deployments, workload("db"))).rejects.toThrow("runs at east"), 10_000);
    await create(deployments, workload("other"));
    const copy = workload("renamed");
    copy.metadata.labels = { "lifeboat.dev/group": group };
    await expect(create(deployments, copy)).rejects.toThrow("runs at east");
  });
});

describe("a gate", () => {
  test("that is opened lets start at once", async () => {
    const gates = startGates();
    await client.create(deployments, workload("web", { replicas: 0 }), write);
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    await gates.open(group, openAt(4), { signal: never });
    await scale("web", 2);
    await create(pods, pod("p"));
  });

  test("whose parameter is removed or changed comes back by itself", async () => {
    const gates = startGates();
    await gates.open(group, openAt(3), { signal: never });
    const place = { name: gateName(group) };
    const { uid } = (await client.get(resources.gates, place, { signal: never })).metadata;
    await client.delete(resources.gates, place, { signal: never });
    await eventually(async () => {
      const found = await client.get(resources.gates, place, { signal: never });
      expect(found.metadata.uid).not.toBe(uid);
      expect(found["spec"]).toMatchObject({ open: true, counter: 3 });
      await create(pods, pod("p"));
    });
    const shut = { type: "merge", body: { spec: { open: false } } } as const;
    await client.patch(resources.gates, place, shut, write);
    await eventually(async () => {
      const found = await client.get(resources.gates, place, { signal: never });
      expect(found["spec"]).toMatchObject({ open: true });
    });
    const narrow = { type: "merge", body: { spec: { matchResources: { namespaceSelector: null } } } } as const;
    await client.patch(resources.admissionBindings, place, narrow, write);
    await eventually(async () => {
      const found = await client.get(resources.admissionBindings, place, { signal: never });
      const { matchResources } = found["spec"] as { matchResources?: unknown };
      expect(JSON.stringify(matchResources)).toContain(`"values":["${namespace}"]`);
    });
    await client.delete(resources.admissionBindings, place, { signal: never });
    await eventually(() => client.get(resources.admissionBindings, place, { signal: never }));
  });

  test("refuses what cannot be decided only once its API server has had time to learn of its kind", async () => {
    const clock = new ManualClock();
    const gates = startGates({}, "ActiveStandby", clock);
    const undecided = async () => {
      const { spec } = (await client.get(
        resources.admissionPolicies,
        { name: gateName(group) },
        { signal: never },
      )) as {
        spec?: { failurePolicy?: string };
      };
      return spec?.failurePolicy;
    };
    await gates.open(group, openAt(3), { signal: never });
    expect(await undecided()).toBe("Ignore");
    await gates.close(group, closedAt(4), { signal: never });
    expect(await undecided()).toBe("Ignore");
    await clock.advance(39_000);
    expect(await undecided()).toBe("Ignore");
    const firm = async () => {
      await clock.advance(1_100);
      expect(await undecided()).toBe("Fail");
    };
    await eventually(firm);
    // Closed again and again it stays so.
    await gates.close(group, closedAt(4), { signal: never });
    expect(await undecided()).toBe("Fail");
    client.readiness.note(false);
    client.readiness.note(false);
    client.readiness.note(true);
    await eventually(async () => expect(await undecided()).toBe("Ignore"));
    await clock.advance(39_000);
    await eventually(firm);
    await gates.open(group, openAt(5), { signal: never });
    expect(await undecided()).toBe("Ignore");
  });

  test("does not go back to an older epoch", async () => {
    const gates = startGates();
    await gates.close(group, closedAt(5), { signal: never });
    await inForce(gates);
    const place = { name: gateName(group) };
    const older = { type: "merge", body: { spec: { open: true, counter: 4 } } } as const;
    await eventually(() =>
      expect(client.patch(resources.gates, place, older, { ...write, dryRun: true })).rejects.toThrow(
        "never goes back",
      ),
    );
    await expect(gates.open(group, openAt(4), { signal: never })).rejects.toMatchObject({ code: "FailoverRefused" });
  });

  test("that is removed refuses nothing any more", async () => {
    const gates = startGates();
    await gates.close(group, closedAt(3), { signal: never });
    await inForce(gates);
    gates.remove(group);
    await eventually(() => create(pods, pod("p")));
    const place = { name: gateName(group) };
    expect(await client.find(resources.gates, place, { signal: never })).toBeUndefined();
  });
});
