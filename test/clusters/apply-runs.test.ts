import { expect, test } from "vitest";
import { normalise } from "../../src/capture/normalise.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { type ApplyBench, applyBench, atEast, eventually, never, ns } from "./apply-harness.ts";

/** What somebody that is held back has begun goes on by itself; at a site that stops it must not. */

/** Pods of Jobs succeed within a second here; one that waits for a node runs for as long as the test wants. */
function template(endless: boolean): unknown {
  const containers = [{ name: "main", image: "any/image:1" }];
  return { spec: { restartPolicy: "Never", containers, ...(endless ? { nodeSelector: { not: "there" } } : {}) } };
}

function cronJob(namespace: string, name: string): KubeObject {
  return {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name, namespace },
    spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { template: template(false) } } },
  };
}

/** A Job as the controller of its CronJob makes it. */
function job(owner: KubeObject, name: string, { endless }: { readonly endless: boolean }): KubeObject {
  const { uid = "", name: ownerName, namespace = "" } = owner.metadata;
  const reference = { apiVersion: "batch/v1", kind: "CronJob", name: ownerName, uid, controller: true };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name, namespace, ownerReferences: [reference] },
    spec: { template: template(endless) },
  };
}

async function create({ west }: ApplyBench, object: KubeObject): Promise<KubeObject> {
  return west.client.create(west.resource(object), object, { fieldManager: "kubectl", signal: never });
}

test("a site that stops ends what its CronJobs have begun, and removes it once it follows the other", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.restart("active");
  await create(bench, ns(namespace));
  const nightly = await create(bench, cronJob(namespace, "nightly"));
  const foreign = await create(bench, cronJob(namespace, "of-another-group"));
  const started = await create(bench, job(nightly, "started", { endless: true }));
  const ended = await create(bench, job(nightly, "ended", { endless: false }));
  const others = await create(bench, job(foreign, "others", { endless: true }));
  await eventually(async () => (await jobsWithPods(bench)).includes("started"));
  await eventually(async () => isComplete(await west.get(ended)));

  const stopping = { epoch: "11.0", local: [{ key: keyOf(nightly), ...normalise(nightly) }], signal: never };
  expect(await bench.applier.demote(stopping)).toMatchObject({ failed: [], stopped: [keyOf(nightly)] });
  await eventually(async () => !(await jobsWithPods(bench)).includes("started"), 45_000);
  expect(isSuspended(await west.get(started))).toBe(true);
  expect(isSuspended(await west.get(ended))).toBe(false);
  expect(isSuspended(await west.get(others))).toBe(false);

  // The process ends in between: what is held is found again.
  expect(await bench.applier.demote(stopping)).toMatchObject({ failed: [] });
  bench.applier.follow();
  bench.epoch = "11.0";
  bench.ring = "r2";
  await bench.send(await atEast(bench, cronJob(namespace, "nightly")));
  await bench.settled();
  await eventually(async () => (await west.get(started)) === undefined);
  expect(await west.get(ended)).toBeDefined();
  expect(await jobsWithPods(bench)).toContain("others");
});

function isSuspended(found: KubeObject | undefined): boolean | undefined {
  return found === undefined ? undefined : (found["spec"] as { suspend?: boolean }).suspend === true;
}

function isComplete(found: KubeObject | undefined): boolean {
  return (found?.["status"] as { completionTime?: string } | undefined)?.completionTime !== undefined;
}

/** Names of Jobs, one per pod. */
async function jobsWithPods({ west, namespace }: ApplyBench): Promise<string[]> {
  const names: string[] = [];
  const pods = west.resource({ apiVersion: "v1", kind: "Pod" });
  for await (const page of west.client.list(pods, { namespace, signal: never })) {
    names.push(...page.items.map(({ metadata }) => metadata.labels?.["batch.kubernetes.io/job-name"] ?? ""));
  }
  return names;
}
