import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKinds } from "../../../src/kube/discovery.ts";
import { readGroupList } from "../../../src/kube/discovery-document.ts";
import { compareVersions, KnownObjects } from "../../../src/kube/known.ts";
import { mayTake, nextIncarnation } from "../../../src/kube/lease.ts";
import { forEachLine } from "../../../src/kube/lines.ts";
import { pathOf, resources } from "../../../src/kube/resource.ts";
import { errorOfStatus, errorOfTransport, kubeStatusOf, parseStatus } from "../../../src/kube/status.ts";

test("lines come out whole however the body is cut into pieces", async () => {
  const text = fc.array(fc.string({ unit: "grapheme", maxLength: 20 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(text, fc.array(fc.nat(50)), async (lines, cuts) => {
      const clean = lines.map((line) => line.replaceAll("\n", "")).filter((line) => line !== "");
      const body = Buffer.from(clean.join("\n"));
      const pieces: Buffer[] = [];
      let start = 0;
      for (const cut of cuts) pieces.push(body.subarray(start, (start += cut)));
      pieces.push(body.subarray(start));
      const seen: string[] = [];
      await forEachLine(Readable.from(pieces.filter((piece) => piece.length > 0)), (line) => seen.push(line));
      expect(seen).toEqual(clean);
    }),
  );
});

test("a handler's error ends the reading", async () => {
  const body = Readable.from([Buffer.from("a\nb\n")]);
  await expect(
    forEachLine(body, () => {
      throw new Error("enough");
    }),
  ).rejects.toThrow("enough");
  expect(body.destroyed).toBe(true);
});

test("versions are ordered as numbers of any length, and not at all where they are none", () => {
  expect(compareVersions("9", "10")).toBeLessThan(0);
  expect(compareVersions("9007199254740993", "9007199254740992")).toBeGreaterThan(0);
  expect(compareVersions("7", "7")).toBe(0);
  expect(compareVersions("a", "7")).toBeUndefined();
});

test("known objects are counted per namespace, and forgotten whole", () => {
  const known = new KnownObjects();
  known.set({ namespace: "a", name: "x" }, "1");
  known.set({ namespace: "a", name: "x" }, "2");
  known.set({ name: "cluster" }, "3");
  expect(known.count).toBe(2);
  expect(known.version({ namespace: "a", name: "x" })).toBe("2");
  expect([...known.places()]).toEqual([
    { namespace: "a", name: "x" },
    { namespace: "", name: "cluster" },
  ]);
  expect(known.delete({ namespace: "a", name: "x" })).toBe(true);
  expect(known.delete({ namespace: "a", name: "x" })).toBe(false);
  expect(known.hasNamespace("a")).toBe(false);
});

test("paths follow the group, the scope and the subresource", () => {
  expect(pathOf(resources.configMaps)).toBe("/api/v1/configmaps");
  expect(pathOf(resources.configMaps, { namespace: "n", name: "a.b" })).toBe("/api/v1/namespaces/n/configmaps/a.b");
  expect(pathOf(resources.crds, { namespace: "n", name: "x" })).toBe(
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x",
  );
  expect(pathOf(resources.leases, { namespace: "n", name: "x", subresource: "status" })).toBe(
    "/apis/coordination.k8s.io/v1/namespaces/n/leases/x/status",
  );
});

describe("errors", () => {
  const status = (code: number, message: string, reason = ""): string =>
    JSON.stringify({ kind: "Status", code, message, reason });

  test.each([
    [401, "Unauthorized", "KubeconfigInvalid", false],
    [403, 'secrets is forbidden: User "bob" cannot list resource "secrets" in API group ""', "KubeForbidden", false],
    [403, 'pods "x" is forbidden: exceeded quota: q', "KubeRejected", false],
    [404, "not found", "NotFound", false],
    [409, "the object has been modified", "KubeRejected", false],
    [422, "invalid", "KubeRejected", false],
    [429, "too many requests", "KubeRejected", true],
    [500, "failed calling webhook", "KubeRejected", true],
    [500, "failed to create typed patch object (x): .spec.y: field not declared in schema", "KubeRejected", false],
    [503, "unavailable", "KubeRejected", true],
  ])("%i %s is %s", (code, message, expected, retryable) => {
    const error = errorOfStatus("GET /x", parseStatus(code, status(code, message, "Reason")));
    expect(error).toMatchObject({ code: expected, retryable, op: "GET /x" });
    expect(error.message).toContain(message);
    expect(kubeStatusOf(error)).toMatchObject({ code, reason: "Reason" });
  });

  test("an answer that is no Status keeps its text", () => {
    expect(parseStatus(502, "<html>Bad gateway</html>", "7")).toMatchObject({
      code: 502,
      reason: "",
      message: "<html>Bad gateway</html>",
      retryAfterSeconds: 7,
    });
    expect(parseStatus(500, "null").message).toBe("null");
  });

  test("a certificate that is not trusted is the kubeconfig's fault, a refused connection the network's", () => {
    const tls = Object.assign(new Error("unable to verify"), { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" });
    expect(errorOfTransport("x", "https://s", new TypeError("failed", { cause: tls }))).toMatchObject({
      code: "KubeconfigInvalid",
    });
    const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    expect(errorOfTransport("x", "https://s", refused)).toMatchObject({ code: "KubeUnreachable", retryable: true });
  });
});

describe("discovery documents", () => {
  const version = (name: string, freshness = "Current", kinds = ["Thing"]): unknown => ({
    version: name,
    freshness,
    resources: kinds.map((kind) => ({
      resource: `${kind.toLowerCase()}s`,
      scope: "Namespaced",
      responseKind: { kind },
      verbs: ["list", "watch"],
      subresources: [{ subresource: "scale" }],
    })),
  });
  const document = (...versions: unknown[]): string =>
    JSON.stringify({ kind: "APIGroupDiscoveryList", items: [{ metadata: { name: "x.io" }, versions }] });

  test("the first version that is listed is the preferred one", () => {
    const { kinds, broken } = readGroupList(document(version("v2"), version("v1", "Current", ["Thing", "Other"])));
    expect(broken).toEqual([]);
    expect(kinds.map((kind) => `${kind.kind} ${kind.versions.map((one) => one.version).join()}`)).toEqual([
      "Thing v2,v1",
      "Other v1",
    ]);
    expect(kinds[0]?.versions[0].subresources).toEqual(new Set(["scale"]));
  });

  test("a version whose server does not answer is listed as broken", () => {
    expect(readGroupList(document(version("v1", "Stale", [])))).toEqual({
      kinds: [],
      broken: [{ groupVersion: "x.io/v1" }],
    });
  });

  test("an API server without aggregated discovery is refused with the version that has it", () => {
    expect(() => readGroupList(`{"kind":"APIGroupList"}`)).toThrow(/aggregated discovery/);
  });

  test("changes name what came, what went and what is served differently", () => {
    const byId = (text: string) => new Map(readGroupList(text).kinds.map((kind) => [kind.kind, kind]));
    const before = byId(document(version("v1", "Current", ["Same", "Gone", "Moved"])));
    const after = byId(
      document(version("v1", "Current", ["Same", "New", "Moved"]), version("v2", "Current", ["Moved"])),
    );
    const change = compareKinds(before, after);
    expect(change.added.map((kind) => kind.kind)).toEqual(["New"]);
    expect(change.removed.map((kind) => kind.kind)).toEqual(["Gone"]);
    expect(change.changed.map((kind) => kind.kind)).toEqual(["Moved"]);
  });
});

describe("leases", () => {
  const view = { holder: "a", renewTime: "t", durationMs: 1_000, seenMs: 0 };

  test("a lease is taken when nobody, we, or somebody silent for its duration holds it", () => {
    expect(mayTake(undefined, "b", 0)).toBe(true);
    expect(mayTake({ ...view, holder: "" }, "b", 0)).toBe(true);
    expect(mayTake(view, "a", 0)).toBe(true);
    expect(mayTake(view, "b", 1_000)).toBe(false);
    expect(mayTake(view, "b", 1_001)).toBe(true);
  });

  test("incarnations rise, also over a lease that was deleted", () => {
    expect(nextIncarnation(5, 0, 1_000_000)).toBe(6);
    expect(nextIncarnation(5, 9, 1_000_000)).toBe(10);
    expect(nextIncarnation(undefined, 0, 1_763_700_000_000)).toBe(1_763_700_000);
    expect(nextIncarnation(undefined, 1_763_700_005, 1_763_700_000_000)).toBe(1_763_700_006);
  });
});
