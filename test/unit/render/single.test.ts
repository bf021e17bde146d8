import { describe, expect, it } from "vitest";
import type { KubeObject } from "../../../src/objects/object.ts";
import { isSingle } from "../../../src/render/single.ts";
import { surge } from "../../../src/render/surge.ts";
import { renderAt, specWith } from "./helpers.ts";

const claim = { name: "data", persistentVolumeClaim: { claimName: "data" } };
const scratch = { name: "scratch", emptyDir: {} };
const metadata = { name: "db", namespace: "shop" };
const template = (...volumes: object[]) => ({ spec: { containers: [], volumes } });

describe("what is single where both sites run a group", () => {
  it.each<[string, KubeObject]>([
    [
      "a Deployment",
      { apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { template: template(scratch, claim) } },
    ],
    [
      "a StatefulSet with claims of its own",
      {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata,
        spec: { template: template(), volumeClaimTemplates: [{}] },
      },
    ],
    [
      "a CronJob",
      {
        apiVersion: "batch/v1",
        kind: "CronJob",
        metadata,
        spec: { jobTemplate: { spec: { template: template(claim) } } },
      },
    ],
    ["a Pod", { apiVersion: "v1", kind: "Pod", metadata, spec: template(claim).spec }],
  ])("is %s that mounts a claim, unless that is said not to be", (_what, object) => {
    expect(isSingle(object)).toBe(true);
    const each = { ...metadata, annotations: { "lifeboat.dev/singleton": "false" } };
    expect(isSingle({ ...object, metadata: each })).toBe(false);
  });

  it("is what is marked, and nothing that has no volume that lasts", () => {
    const web: KubeObject = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: { template: template(scratch) },
    };
    expect(isSingle(web)).toBe(false);
    expect(isSingle({ ...web, metadata: { ...metadata, labels: { "lifeboat.dev/singleton": "true" } } })).toBe(true);
    expect(isSingle({ apiVersion: "v1", kind: "PersistentVolumeClaim", metadata, spec: {} })).toBe(false);
  });
});

describe("a workload's own surge", () => {
  const web = (percent?: string): KubeObject => ({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { ...metadata, ...(percent === undefined ? {} : { annotations: { "lifeboat.dev/surge": percent } }) },
    spec: { replicas: 3 },
  });

  it.each([
    [undefined, 6],
    ["150", 5],
    ["100", 3],
    ["50", 6],
    ["1001", 6],
    ["1e2", 6],
    ["150%", 6],
    ["", 6],
  ])("%s takes the place of the group's 200 percent within the same bounds", (percent, replicas) => {
    const object = web(percent);
    surge(object, 200);
    expect(object["spec"]).toEqual({ replicas });
  });

  it.each([
    ["ActiveActive", "50", ["SurgeIgnored"]],
    ["ActiveActive", "150%", ["SurgeIgnored"]],
    ["ActiveActive", "150", []],
    ["ActiveActive", undefined, []],
    ["ActiveStandby", "50", []],
  ] as const)("in mode %s, a surge of %s is found %j", (mode, percent, codes) => {
    const { findings } = renderAt(web(percent), { spec: specWith({ mode }) });
    expect(findings.map(({ code }) => code)).toEqual(codes);
  });
});
