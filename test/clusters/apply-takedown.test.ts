import { expect, test } from "vitest";
import { AdmissionGates } from "../../src/admission/gates.ts";
import { GroupGate } from "../../src/agent/group-gate.ts";
import { Holding } from "../../src/agent/holding.ts";
import { readOrigin } from "../../src/agent/origin.ts";
import { type HostedRooms, SiteHost } from "../../src/agent/site-host.ts";
import { WatchPool } from "../../src/capture/pool.ts";
import { systemClock as clock } from "../../src/clock.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import { silentLog as log } from "../../src/telemetry/log.ts";
import {
  type ApplyBench,
  applyBench,
  configMap,
  deployment,
  eventually,
  local,
  never,
  ns,
  refusePods,
  type Workload,
} from "./apply-harness.ts";

/** A site that ran a group is taken down, and brought back from its own objects alone. */

function pod(namespace: string, name = "bare"): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: { containers: [{ name: "c", image: "any/image:1" }] },
  };
}

function webhook(namespace: string): KubeObject {
  return {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: `hook-${namespace}` },
    webhooks: [
      {
        name: "hook.takedown.test",
        clientConfig: { service: { namespace, name: "hook" } },
        rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["endpoints"] }],
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
        failurePolicy: "Ignore",
        sideEffects: "None",
        admissionReviewVersions: ["v1"],
      },
    ],
  };
}

async function create({ west }: ApplyBench, ...objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects)
    await west.client.create(west.resource(object), object, { fieldManager: "kubectl", signal: never });
}

test("taken down until no pod is left, and brought back with what had to be deleted for it", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.restart("active");
  const web = deployment(namespace, "web", { replicas: 2 });
  const mine = [ns(namespace), web, pod(namespace), webhook(namespace), configMap(namespace, "c", { a: "1" })];
  await create(bench, ...mine);
  await eventually(async () => (await west.get<Workload>(web))?.status?.readyReplicas === 2);
  const before = await local(bench, web);

  const down = await bench.applier.demote({
    epoch: "11.0",
    local: await local(bench, ...mine),
    untilGone: true,
    signal: never,
  });
  expect(down.failed).toEqual([]);
  const pods = west.resource(pod(namespace));
  for await (const page of west.client.list(pods, { namespace, signal: never })) expect(page.items).toEqual([]);
  expect(await west.get(webhook(namespace))).toBeUndefined();
  expect((await local(bench, web))[0]?.object).toBe(before[0]?.object);

  // Asked for once more, as after a crash in the middle: what was removed is no longer seen, and not forgotten.
  await bench.restart("held");
  const rest = await local(bench, ...mine);
  expect(rest).toHaveLength(3);
  await bench.applier.demote({ epoch: "11.0", local: rest, signal: never });

  const up = await bench.applier.release({ epoch: "11.0", signal: never });
  expect(up.failed).toEqual([]);
  const running = await west.get<Workload>(web);
  expect(running?.spec.replicas).toBe(2);
  expect(running?.metadata.annotations?.[marks.held]).toBeUndefined();
  expect(running?.metadata.managedFields?.map(({ manager }) => manager).join()).not.toContain("lifeboat");
  expect(await west.get(pod(namespace))).toBeDefined();
  expect(await west.get(webhook(namespace))).toBeDefined();
  expect(bench.journal.divergentKeys()).toEqual([]);

  // What somebody deletes afterwards does not come back with the next time.
  await west.client.delete(pods, pod(namespace).metadata, { gracePeriodSeconds: 0, signal: never });
  await eventually(async () => (await west.get(pod(namespace))) === undefined);
  await bench.applier.demote({ epoch: "11.0", local: await local(bench, web), signal: never });
  expect((await bench.applier.release({ epoch: "11.0", signal: never })).failed).toEqual([]);
  expect(await west.get(pod(namespace))).toBeUndefined();
  await west.client.delete(west.resource(webhook(namespace)), webhook(namespace).metadata, { signal: never });
});

test("Jobs that a CronJob has begun are held with it, and go on afterwards", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.restart("active");
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "c", image: "any/image:1" }] } };
  const cron: KubeObject = {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "nightly", namespace },
    spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { template } } },
  };
  await create(bench, ns(namespace), cron);
  const { uid = "" } = (await west.get(cron))?.metadata ?? {};
  const job: KubeObject = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: "nightly-1",
      namespace,
      ownerReferences: [{ apiVersion: "batch/v1", kind: "CronJob", name: "nightly", uid, controller: true }],
    },
    spec: { template },
  };
  await create(bench, job);
  const suspend = async (): Promise<unknown> => (await west.get<{ spec: { suspend?: boolean } }>(job))?.spec.suspend;
  const objects = await local(bench, ns(namespace), cron);
  expect((await bench.applier.demote({ epoch: "11.0", local: objects, signal: never })).failed).toEqual([]);
  expect(await suspend()).toBe(true);
  expect((await bench.applier.release({ epoch: "11.0", signal: never })).failed).toEqual([]);
  expect(await suspend()).toBe(false);
});

test("what is down when its group ends is brought back, and tried until it can be", async () => {
  await using bench = await applyBench();
  const { namespace, west, group: name } = bench;
  await bench.restart("active");
  const web = deployment(namespace, "web", { replicas: 2 });
  const mine = [ns(namespace), web, pod(namespace)];
  await create(bench, ...mine);
  const objects = await local(bench, ...mine);
  await bench.applier.demote({ epoch: "11.0", local: objects, untilGone: true, signal: never });
  await bench.restart("held");
  const allowPods = await refusePods(bench);

  const common = {
    name,
    site: "west",
    client: west.client,
    discovery: west.discovery,
    clock,
    random: Math.random,
    log,
  };
  const pool = new WatchPool(common);
  const holding = new Holding({ ...common, pool, namespaces: () => [namespace], signal: never });
  const gate = new GroupGate({
    ...common,
    gates: new AdmissionGates(common),
    covered: () => undefined,
    cert: () => null,
    records: bench.journal,
  });
  const rooms: Partial<HostedRooms> = { name, journal: bench.journal, applier: bench.applier, holding, gate, log };
  const host = new SiteHost({ ...rooms, parts: { clock } } as HostedRooms);
  // A change of role that is still under way refuses any other.
  const busy = bench.applier.release({ epoch: "11.0", signal: never });
  const bringing = host.bringBack({ signal: never });
  await eventually(async () => (await west.get<Workload>(web))?.spec.replicas === 2);
  expect(await west.get(pod(namespace))).toBeUndefined();
  expect(readOrigin(bench.journal)).not.toBe("own");
  await allowPods();
  await busy;
  expect(readOrigin(bench.journal)).not.toBe("own");
  await bringing;
  expect(await west.get(pod(namespace))).toBeDefined();
  expect(readOrigin(bench.journal)).toBe("own");
});
