import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { refusedParts } from "../../src/agent/status-writer.ts";
import { protectionGroupCrd } from "../../src/config/crd.ts";
import { groupApi, groupSpecSchema } from "../../src/config/group.ts";
import { parseGroup } from "../../src/config/parse-group.ts";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { ensurePrograms } from "../bed/programs.ts";
import { specTable } from "../unit/config/spec-table.ts";
import { Site } from "./render-site.ts";
import { kubeconfigs } from "./sites.ts";

/** The CustomResourceDefinition on a real API server, and whether it and the agent think the same of a spec. */

let site: Site;
const prefix = `crd-${process.pid}`;

beforeAll(async () => {
  site = await Site.open("east");
  const definition = protectionGroupCrd();
  await site.apply(definition);
  await site.eventually(definition, (live) => {
    const { conditions } = live["status"] as { conditions: { type: string; status: string }[] | null };
    return (conditions ?? []).some(({ type, status }) => type === "Established" && status === "True");
  });
  await site.served(groupApi.apiVersion, groupApi.kind);
});

afterAll(async () => {
  for (const object of made) await site.remove(object);
  await site.client.close();
});

const made: KubeObject[] = [];
const least = { sites: [{ name: "east" }, { name: "west" }], select: { namespaces: { names: [prefix] } } };

function group(name: string, spec: unknown): KubeObject {
  return { apiVersion: groupApi.apiVersion, kind: groupApi.kind, metadata: { name: `${prefix}-${name}` }, spec };
}

/** What the API server says of an object, `accepted` or its message. */
async function verdict(object: KubeObject): Promise<string> {
  try {
    await site.client.create(await site.resourceOf(object), object, {
      fieldManager: "test",
      fieldValidation: "Strict",
      dryRun: true,
      signal: new AbortController().signal,
    });
    return "accepted";
  } catch (error) {
    return messageOf(error);
  }
}

async function kubectl(...args: string[]): Promise<string> {
  const programs = await ensurePrograms(["kubectl"]);
  return (
    await promisify(execFile)(programs.get("kubectl") ?? "kubectl", [`--kubeconfig=${kubeconfigs().east}`, ...args])
  ).stdout;
}

describe("the API server", () => {
  it.each(specTable)("says of $title what the agent says: $verdict", async ({ change, message, server }) => {
    const object = group("table", change(structuredClone(least)));
    const said = await verdict(object);
    if (server === undefined) expect(said).toBe("accepted");
    else expect(said).toContain(server);
    // Whatever the API server refuses, the agent refuses; the other way round some things only the agent can tell.
    if (message === undefined) expect(() => parseGroup(object)).not.toThrow();
    else expect(() => parseGroup(object)).toThrow(LifeboatError);
  });

  it("fills in the defaults that the agent fills in", async () => {
    const object = group("defaults", least);
    made.push(object);
    const live = await site.create(object);
    expect(live["spec"]).toEqual(groupSpecSchema.parse(least));
    expect(parseGroup(live).group.spec).toEqual(live["spec"]);
  });

  it("does not let the names of the sites change, but their order and all else", async () => {
    const object = group("sites", least);
    made.push(object);
    await site.create(object);
    const patched = (spec: object) =>
      site.patch(object, { contentType: "application/merge-patch+json", query: {}, body: { spec } });
    await expect(patched({ sites: [{ name: "east" }, { name: "north" }] })).rejects.toThrow(
      "the names of the sites cannot be changed",
    );
    expect(await patched({ sites: [{ name: "west" }, { name: "east" }], suspend: true })).toMatchObject({
      spec: { sites: [{ name: "west" }, { name: "east" }], suspend: true },
    });
  });

  it("does not let the mode change", async () => {
    const object = group("mode", least);
    made.push(object);
    await site.create(object);
    const request = { contentType: "application/merge-patch+json" as const, query: {} };
    await expect(site.patch(object, { ...request, body: { spec: { mode: "ActiveActive" } } })).rejects.toThrow(
      "the mode cannot be changed",
    );
  });

  it("keeps what an agent writes into the status, fields of later versions too", async () => {
    const object = group("status", least);
    made.push(object);
    await site.create(object);
    const status = {
      role: "active",
      active: "east",
      lag: { summary: "0.8s", applyMs: 800.5 },
      conditions: [
        { type: "Ready", status: "True", reason: "Synced", message: "m", lastTransitionTime: "2026-01-02T03:04:05Z" },
      ],
      later: { anything: [1] },
    };
    const request = { contentType: "application/merge-patch+json" as const, query: {}, body: { status } };
    expect((await site.patch(object, request, "status"))["status"]).toEqual(status);
  });

  it("names the parts of a status that it refuses, so that the rest can be written", async () => {
    const object = group("status-refused", least);
    made.push(object);
    await site.create(object);
    const status = { role: "active", lastFailover: { decisionMs: -1 }, lag: { applyMs: "much" } };
    const request = { contentType: "application/merge-patch+json" as const, query: {}, body: { status } };
    const refused: unknown = await site.patch(object, request, "status").catch((error: unknown) => error);
    expect([...refusedParts(refused)].toSorted()).toEqual(["lag", "lastFailover"]);
    expect(refusedParts(new LifeboatError("KubeRejected", "another thing"))).toEqual(new Set());
  });

  it("prints the columns that people look at", async () => {
    const object = group("columns", least);
    made.push(object);
    await site.create(object);
    const conditions = [
      { type: "Ready", status: "True", reason: "r", message: "m", lastTransitionTime: "2026-01-02T03:04:05Z" },
    ];
    const status = { role: "standby", active: "east", lag: { summary: "0.8s" }, conditions };
    await site.patch(object, { contentType: "application/merge-patch+json", query: {}, body: { status } }, "status");
    const [header, row] = (await kubectl("get", "pg", object.metadata.name)).trim().split("\n");
    expect(header?.split(/\s+/)).toEqual(["NAME", "ROLE", "ACTIVE", "MODE", "LAG", "READY", "AGE"]);
    expect(row?.split(/\s+/).slice(1, 6)).toEqual(["standby", "east", "ActiveStandby", "0.8s", "True"]);
  });

  it("explains the fields", async () => {
    const text = await kubectl("explain", "protectiongroup.spec.failover.fencing.policy");
    expect(text.replaceAll(/\s+/g, " ")).toContain("What must be able to stop the old site");
    expect(await kubectl("explain", "protectiongroup", "--recursive")).toContain("loadBalancerIPs");
  });
});
