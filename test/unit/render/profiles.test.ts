import { describe, expect, it } from "vitest";
import { builtInProfiles } from "../../../src/render/profiles/table.ts";
import { fromHeld } from "../../../src/render/marks.ts";
import { object, plain, renderAt, rendered, specWith, withoutMarks } from "./helpers.ts";

/** Specs that operators accept, with every field that a profile touches set to something that runs. */
const running = {
  replicas: 3,
  suspend: false,
  running: true,
  numberOfInstances: 2,
  cassandra: { datacenters: [{ name: "a" }, { name: "b", stopped: false }] },
  template: { metadata: { annotations: { "autoscaling.knative.dev/min-scale": "2" } }, spec: { containers: [] } },
};

describe("standby profiles", () => {
  it("cover the common operators", () => {
    for (const kind of [
      "keda.sh/ScaledObject",
      "argoproj.io/Rollout",
      "serving.knative.dev/Service",
      "kubevirt.io/VirtualMachine",
      "apps.kruise.io/CloneSet",
      "kafka.strimzi.io/Kafka",
      "postgresql.cnpg.io/Cluster",
      "acid.zalan.do/postgresql",
      "pxc.percona.com/PerconaXtraDBCluster",
      "rabbitmq.com/RabbitmqCluster",
      "cassandra.datastax.com/CassandraDatacenter",
      "couchbase.com/CouchbaseCluster",
      "monitoring.coreos.com/Prometheus",
    ]) {
      expect(builtInProfiles.has(kind), kind).toBe(true);
    }
  });

  it.each([...builtInProfiles])("%s is held on the standby and comes back as it was", (name, profile) => {
    const [group, kind] = name.split("/");
    const resource = object(`${group}/v1`, kind ?? "", "x", { spec: structuredClone(running) });
    expect(plain(resource, { role: "active" })).toEqual(resource);
    if (profile.withhold === true) {
      expect(renderAt(resource).withheld?.reason).toBe("StandbyRole");
      return;
    }
    const copy = rendered(resource);
    expect(withoutMarks(copy)).not.toEqual(resource);
    expect(withoutMarks(fromHeld(copy))).toEqual(resource);
  });

  it("stop every datacenter of a K8ssandra cluster", () => {
    const cluster = object("k8ssandra.io/v1alpha1", "K8ssandraCluster", "c", { spec: structuredClone(running) });
    expect(plain(cluster)).toMatchObject({
      spec: {
        cassandra: {
          datacenters: [
            { name: "a", stopped: true },
            { name: "b", stopped: true },
          ],
        },
      },
    });
  });

  it("halt a virtual machine by the field that excludes the other", () => {
    const machine = object("kubevirt.io/v1", "VirtualMachine", "vm", { spec: { running: true } });
    expect(plain(machine)["spec"]).toEqual({ runStrategy: "Halted" });
  });

  it("of the group win over the built-in ones", () => {
    const spec = specWith({ profiles: [{ kind: "rabbitmq.com/*", set: [{ path: "/spec/paused", value: true }] }] });
    const broker = object("rabbitmq.com/v1beta1", "RabbitmqCluster", "r", { spec: { replicas: 3 } });
    expect(plain(broker, { spec })["spec"]).toEqual({ replicas: 3, paused: true });
    const withheld = specWith({ profiles: [{ kind: "rabbitmq.com/RabbitmqCluster", withhold: true }] });
    expect(renderAt(broker, { spec: withheld }).withheld?.reason).toBe("StandbyRole");
  });

  it("that are missing for a kind that owns pods are asked for", () => {
    const thing = object("example.com/v1", "Thing", "t", { spec: {} });
    expect(renderAt(thing).findings).toEqual([]);
    const facts = { podOwners: new Set(["example.com/Thing", "rabbitmq.com/RabbitmqCluster"]) };
    expect(renderAt(thing, { facts }).findings.map((finding) => finding.code)).toEqual(["MayRunOnStandby"]);
    expect(renderAt(thing, { facts, role: "active" }).findings).toEqual([]);
    const broker = object("rabbitmq.com/v1beta1", "RabbitmqCluster", "r", { spec: {} });
    expect(renderAt(broker, { facts }).findings).toEqual([]);
  });
});
