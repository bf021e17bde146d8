import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parseDuration } from "../../src/config/duration.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { objectives } from "../demo/chapters/protect.ts";
import { targetsMaxCount } from "../demo/ledger.ts";
import type { DemoResult } from "../demo/stage.ts";
import { runDemo } from "./demo-run.ts";

/** Two hundred kinds take minutes where other tests run beside this one. */
const limitMs = 700_000;

function folder(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

function definition(group: string, plural: string, properties: Record<string, unknown>): KubeObject {
  const kind = `${plural[0]?.toUpperCase()}${plural.slice(1, -1)}`;
  const schema = { openAPIV3Schema: { type: "object", properties } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, plural, singular: plural.slice(0, -1) },
      versions: [{ name: "v1", served: true, storage: true, schema }],
    },
  };
}

function resource({ spec }: KubeObject): KubeObject {
  const { group, names } = spec as { readonly group: string; readonly names: { readonly kind: string } };
  return { apiVersion: `${group}/v1`, kind: names.kind, metadata: { name: "one", namespace: "awkward" } };
}

/** A definition of about so many bytes. */
function large(plural: string, bytes: number): KubeObject {
  const described = (at: number): [string, unknown] => [
    `field${at}`,
    { type: "string", description: "of no use. ".repeat(90) },
  ];
  return definition(
    "large.example",
    plural,
    Object.fromEntries(Array.from({ length: Math.round(bytes / 1_040) }, (_, at) => described(at))),
  );
}

/** The folder of trouble, with two hundred kinds, a definition of a megabyte and one that is too large. */
async function awkward(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "demo-awkward-"));
  await cp(folder("demo-awkward"), path, { recursive: true });
  const kinds = Array.from({ length: 200 }, (_, at) => definition("many.example", `kind${at}s`, {}));
  const definitions = [...kinds, large("megabytes", 1_000_000), large("monsters", 2_000_000)];
  const items = [...definitions, ...definitions.map((crd) => resource(crd))];
  await writeFile(join(path, "15-kinds.json"), JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  return { path, [Symbol.asyncDispose]: async () => rm(path, { recursive: true }) };
}

function reasonsOf(result: DemoResult | undefined): Readonly<Record<string, string>> {
  return Object.fromEntries((result?.notReplicated ?? []).map(({ object, reason }) => [object, reason]));
}

test("an application with every kind of trouble ends in a list of what and why", { timeout: limitMs }, async () => {
  await using app = await awkward();
  const { code, result, output } = await runDemo(["--nodes", "simulated", "--app", app.path, "--watch", "10"]);
  expect(result, output).toBeDefined();
  const reasons = reasonsOf(result);
  const expected: Readonly<Record<string, RegExp>> = {
    "nobody.example/Widget/awkward/orphan": /does not serve/,
    "nobody.awkward.example/Thing/awkward/lost": /does not serve/,
    "apps/Deployment/awkward/nowhere": /not ready at east either: .*node/,
    "apps/Deployment/awkward-small/many": /not ready at east either: .*quota/,
    "/Secret/awkward-small/second": /not at east: .*quota/,
    "/ConfigMap/awkward/gated": /not at east: .*webhook/,
    "/ConfigMap/awkward/gated-*": /not at east: .*webhook/,
    "/ConfigMap/kube-system/leader": /each cluster's own/,
    "apiextensions.k8s.io/CustomResourceDefinition//monsters.large.example": /not at east: .*too large/,
    "large.example/Monster/awkward/one": /does not serve/,
    "admissionregistration.k8s.io/ValidatingWebhookConfiguration//nobody-answers": /waits for endpoints/,
    "apiregistration.k8s.io/APIService//v1.nobody.awkward.example": /waits for endpoints/,
  };
  for (const [object, reason] of Object.entries(expected)) expect(reasons[object] ?? output, object).toMatch(reason);
  const byPattern = (pattern: RegExp): string | undefined =>
    Object.entries(reasons).find(([object]) => pattern.test(object))?.[1];
  expect(byPattern(/^30-broken\.yaml, document 2, line [67]$/)).toMatch(/\w/);
  // It got the rest of its name and was done before the kill.
  expect(byPattern(/^batch\/Job\/awkward\/once-\w+$/)).toContain("its work was done");
  // Everything else came along, hundreds of kinds and a definition of a megabyte among it.
  const named = Object.keys(reasons).filter((object) => /(many|large)\.example|^\/Service\/|first|good/.test(object));
  expect(named.toSorted()).toEqual([
    "apiextensions.k8s.io/CustomResourceDefinition//monsters.large.example",
    "large.example/Monster/awkward/one",
  ]);
  expect(result?.objects).toBeGreaterThan(400);
  // Changes of what never travels would all count as lost.
  expect(result?.acknowledged).toBeGreaterThan(2 * targetsMaxCount);
  expect(result?.rpoMs).toBeLessThan(parseDuration(objectives.rpo));
  // What was ready at east is ready at west, whatever else did not come up.
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expect(code).toBe(0);
});

test("where the story cannot go on it ends in the list, and not in a hang", { timeout: limitMs }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "simulated", "--app", folder("demo-blocked")]);
  expect(code, output).toBe(1);
  expect(result?.checks).toEqual([
    { name: "Protecting it", ok: false, detail: expect.stringContaining("everything.blocked.example") as string },
  ]);
  expect(reasonsOf(result)).toMatchObject({ "/Service/blocked/before": "is not at west" });
  const unmeasured = { lostChanges: null, rpoMs: null, decisionMs: null, rtoMs: null, bothActiveMs: null };
  expect(result).toMatchObject({ ...unmeasured, objects: null, acknowledged: null, timeline: [] });
});

test("manifests that cannot be read are listed before anything is started", { timeout: limitMs }, async () => {
  const path = await mkdtemp(join(tmpdir(), "demo-broken-"));
  try {
    await writeFile(join(path, "app.yaml"), "kind: Service\n  metadata: [");
    const { code, result } = await runDemo(["--nodes", "simulated", "--app", path]);
    expect(code).toBe(1);
    expect(result?.notReplicated.map(({ object }) => object)).toEqual(["app.yaml, document 1, line 1"]);
    expect(result?.checks).toMatchObject([{ name: "Two clusters", ok: false }]);
  } finally {
    await rm(path, { recursive: true });
  }
});
