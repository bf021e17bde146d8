import { describe, expect, it } from "vitest";
import { isReady } from "../../../src/render/ready.ts";
import { waveOf } from "../../../src/render/waves.ts";
import type { KubeObject } from "../../../src/objects/object.ts";
import { object } from "./helpers.ts";

describe("waves", () => {
  it("come in the order of needs", () => {
    const order = [
      ["apiextensions.k8s.io/v1", "CustomResourceDefinition"],
      ["v1", "Namespace"],
      ["scheduling.k8s.io/v1", "PriorityClass"],
      ["v1", "ServiceAccount"],
      ["rbac.authorization.k8s.io/v1", "RoleBinding"],
      ["v1", "Secret"],
      ["v1", "Service"],
      ["example.com/v1", "Thing"],
      ["apps/v1", "Deployment"],
      ["v1", "Pod"],
      ["v1", "ResourceQuota"],
      ["autoscaling/v2", "HorizontalPodAutoscaler"],
      ["networking.k8s.io/v1", "Ingress"],
      ["gateway.networking.k8s.io/v1", "HTTPRoute"],
      ["admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"],
    ] as const;
    const numbers = order.map(([apiVersion, kind]) => waveOf({ apiVersion, kind }));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it("of workloads follow their annotation, within the time of workloads", () => {
    const wave = (text: string) =>
      waveOf(object("apps/v1", "Deployment", "w", { annotations: { "lifeboat.dev/wave": text } }));
    const pod = waveOf({ apiVersion: "v1", kind: "Pod" });
    expect(wave("-1")).toBeLessThan(wave("0"));
    expect(wave("10")).toBeGreaterThan(wave("9"));
    expect(wave("1000")).toBeLessThan(pod);
    expect(wave("-1000")).toBeGreaterThan(waveOf({ apiVersion: "example.com/v1", kind: "Thing" }));
    expect(wave("soon")).toBe(wave("0"));
  });
});

describe("readiness", () => {
  const live = (apiVersion: string, kind: string, spec: object, status: object, generation = 2): KubeObject => {
    const made = object(apiVersion, kind, "x", { spec, status });
    made.metadata.generation = generation;
    return made;
  };
  const condition = (type: string, status = "True") => ({ conditions: [{ type, status }] });

  it.each([
    [
      "a Deployment",
      true,
      live(
        "apps/v1",
        "Deployment",
        { replicas: 2 },
        { observedGeneration: 2, updatedReplicas: 2, availableReplicas: 2 },
      ),
    ],
    [
      "a Deployment half way",
      false,
      live(
        "apps/v1",
        "Deployment",
        { replicas: 2 },
        { observedGeneration: 2, updatedReplicas: 2, availableReplicas: 1 },
      ),
    ],
    [
      "a Deployment with old pods",
      false,
      live(
        "apps/v1",
        "Deployment",
        { replicas: 2 },
        { observedGeneration: 2, updatedReplicas: 1, availableReplicas: 2 },
      ),
    ],
    [
      "a Deployment not yet seen",
      false,
      live(
        "apps/v1",
        "Deployment",
        { replicas: 2 },
        { observedGeneration: 1, updatedReplicas: 2, availableReplicas: 2 },
      ),
    ],
    ["a Deployment never seen", false, live("apps/v1", "Deployment", { replicas: 0 }, {})],
    ["a Deployment of none", true, live("apps/v1", "Deployment", { replicas: 0 }, { observedGeneration: 2 })],
    ["a StatefulSet", true, live("apps/v1", "StatefulSet", {}, { observedGeneration: 2, readyReplicas: 1 })],
    ["a StatefulSet at zero", false, live("apps/v1", "StatefulSet", {}, { observedGeneration: 2 })],
    [
      "a DaemonSet",
      false,
      live("apps/v1", "DaemonSet", {}, { observedGeneration: 2, desiredNumberScheduled: 2, numberReady: 1 }),
    ],
    ["a Job at work", true, live("batch/v1", "Job", {}, { active: 1 })],
    ["a Job not started", false, live("batch/v1", "Job", {}, {})],
    ["a Job that failed", false, live("batch/v1", "Job", {}, { active: 1, ...condition("Failed") })],
    ["a suspended Job", true, live("batch/v1", "Job", { suspend: true }, {})],
    ["a Pod", true, live("v1", "Pod", {}, condition("Ready"))],
    ["a Pod that starts", false, live("v1", "Pod", {}, condition("Ready", "False"))],
    ["a Pod that is done", true, live("v1", "Pod", {}, { phase: "Succeeded" })],
    ["a claim that waits for its pod", true, live("v1", "PersistentVolumeClaim", {}, { phase: "Pending" })],
    ["a claim that lost its volume", false, live("v1", "PersistentVolumeClaim", {}, { phase: "Lost" })],
    ["a Namespace that ends", false, live("v1", "Namespace", {}, { phase: "Terminating" })],
    ["a definition", true, live("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, condition("Established"))],
    ["a new definition", false, live("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, {})],
    [
      "an APIService without backend",
      false,
      live("apiregistration.k8s.io/v1", "APIService", {}, condition("Available", "False")),
    ],
    ["a custom resource", true, live("example.com/v1", "Thing", {}, {})],
    ["a custom resource that says it is not", false, live("example.com/v1", "Thing", {}, condition("Ready", "False"))],
    ["a ConfigMap", true, object("v1", "ConfigMap", "c")],
  ])("of %s: %s", (_title, ready, given) => {
    const result = isReady(given);
    expect(result.ready, result.reason).toBe(ready);
  });
});
