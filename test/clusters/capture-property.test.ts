import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { normalise } from "../../src/capture/normalise.ts";
import type { SelectionSpec } from "../../src/capture/selection.ts";
import { LifeboatError } from "../../src/errors.ts";
import { DigestTable } from "../../src/objects/digest.ts";
import { parseJson } from "../../src/objects/json.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { definitionOf } from "../definition.ts";
import {
  configMap,
  eventually,
  isNotFound,
  makeNamespace,
  protectionGroup,
  selecting,
  startSource,
  Writer,
  type Source,
} from "./capture-harness.ts";
import { startFlakyLink, type FlakyLink } from "./flaky-link.ts";
import { kubeconfigs } from "./sites.ts";

/**
 * Random operations by a user, random faults between the capture and its API server; afterwards the stream's result
 * is compared with what a plain reading of the API server says should be there.
 */

const run = `p${process.pid}`;
const namespaces = [0, 1, 2].map((i) => `${run}-${i}`);
const names = ["a", "b", "c"];
const crdGroup = "property.example.com";
const crdKind = `Prop${process.pid}`;
const crdPlural = `props${process.pid}`;

type Operation =
  | {
      readonly op: "put";
      readonly kind: string;
      readonly ns: number;
      readonly name: string;
      readonly value: number;
      readonly labelled: boolean;
    }
  | { readonly op: "delete"; readonly kind: string; readonly ns: number; readonly name: string }
  | { readonly op: "gold"; readonly ns: number; readonly gold: boolean }
  | { readonly op: "spec"; readonly spec: number }
  | { readonly op: "define" | "undefine" | "reset" | "cut" };

const kinds = ["ConfigMap", "Secret", "Deployment", "Service", crdKind];
const place = { kind: fc.constantFrom(...kinds), ns: fc.nat(2), name: fc.constantFrom(...names) };
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ op: fc.constant("put" as const), ...place, value: fc.nat(3), labelled: fc.boolean() }),
  },
  { weight: 5, arbitrary: fc.record({ op: fc.constant("delete" as const), ...place }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("gold" as const), ns: fc.nat(2), gold: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("spec" as const), spec: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom("define" as const, "undefine" as const, "reset" as const, "cut" as const),
    }),
  },
);

const [first = "", second = ""] = namespaces;
const gold = { matchLabels: { [`gold-${run}`]: "yes" } };
const specs: readonly SelectionSpec[] = [
  selecting({ namespaces: { names: [first], selector: gold } }),
  selecting({ namespaces: { names: [first, second] }, exclude: [{ kinds: ["Secret"], names: ["b*"] }] }),
  selecting({ namespaces: { selector: gold }, exclude: [{ selector: { matchLabels: { app: "picked" } } }] }),
  selecting({
    namespaces: { names: namespaces },
    objects: { selector: { matchLabels: { app: "picked" } }, references: true },
  }),
];

let direct: Source;
let through: Source;
let link: FlakyLink;
let writer: Writer;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  link = await startFlakyLink(kubeconfigs().east, join(folder, "kubeconfig"));
  direct = await startSource(kubeconfigs().east);
  through = await startSource(link.kubeconfigPath);
  writer = new Writer(direct);
  for (const name of namespaces) await makeNamespace(writer, name);
});
afterAll(async () => {
  link.restore();
  await perform({ op: "undefine" });
  await Promise.all([direct.stop(), through.stop()]);
  link.stop();
});

function build(kind: string, ns: number, name: string, value: number, labelled: boolean): KubeObject {
  const namespace = namespaces[ns] ?? "";
  const metadata = { name, namespace, labels: { app: labelled ? "picked" : "left" } };
  // Each Deployment needs one ConfigMap and one Secret, which one depends on the value.
  const [config = "", secret = ""] = [names[value % 3], names[(value + 1) % 3]];
  switch (kind) {
    case "Deployment": {
      const volumes = [
        { name: "c", configMap: { name: config } },
        { name: "s", secret: { secretName: secret } },
      ];
      const labels = { app: `${name}-${value % 2}` };
      const spec = { containers: [{ name: "c", image: `any/image:${value}` }], volumes };
      const template = { metadata: { labels: { run: name, ...labels } }, spec };
      return {
        apiVersion: "apps/v1",
        kind,
        metadata,
        spec: { replicas: 0, selector: { matchLabels: { run: name } }, template },
      };
    }
    case "Service":
      return {
        apiVersion: "v1",
        kind,
        metadata,
        spec: { clusterIP: "None", selector: { app: `${name}-${value % 2}` }, ports: [{ port: 80 + value }] },
      };
    case crdKind:
      return {
        apiVersion: `${crdGroup}/v1`,
        kind,
        metadata,
        spec: parseJson(`{"value":${value},"big":9007199254740993}`),
      };
    case "Secret":
      return { apiVersion: "v1", kind, metadata, data: { value: Buffer.from(String(value)).toString("base64") } };
    default:
      return { ...configMap(namespace, name, { value: String(value) }), metadata };
  }
}

const crd = definitionOf({ group: crdGroup, kind: crdKind, plural: crdPlural });

async function perform(operation: Operation, onSpec: (spec: SelectionSpec) => void = () => undefined): Promise<void> {
  switch (operation.op) {
    case "put": {
      const { kind, ns, name, value, labelled } = operation;
      // A kind that is not defined cannot be written, which is an operation like any other.
      await writer.apply(build(kind, ns, name, value, labelled)).catch(tolerateMissingKind);
      return;
    }
    case "delete":
      await writer.delete(build(operation.kind, operation.ns, operation.name, 0, false)).catch(tolerateMissingKind);
      return;
    case "gold":
      await writer.label(
        { apiVersion: "v1", kind: "Namespace", metadata: { name: namespaces[operation.ns] ?? "" } },
        { [`gold-${run}`]: operation.gold ? "yes" : null },
      );
      return;
    case "spec":
      onSpec(specs[operation.spec] ?? selecting({ namespaces: {} }));
      return;
    case "define":
      await eventually(async () => writer.apply(crd));
      await writer.served(crdGroup, crdKind);
      return;
    case "undefine":
      await writer.delete(crd);
      // Its objects go first; until then neither it nor they can be defined again.
      await eventually(async () => {
        if (await exists(crd)) throw new Error("still there");
      });
      await eventually(async () => {
        await direct.discovery.refresh({ signal: direct.signal });
        if (direct.discovery.find(crdGroup, crdKind) !== undefined) throw new Error("still served");
      });
      return;
    case "reset":
      link.reset();
      return;
    case "cut":
      link.cut();
      await sleep(100);
      link.restore();
  }
}

function tolerateMissingKind(error: unknown): void {
  if (!(error instanceof LifeboatError) || (error.code !== "NotFound" && error.code !== "KubeRejected")) throw error;
  if (error.code === "KubeRejected" && !/not found|being deleted|terminating/.test(error.message)) throw error;
}

async function exists(object: KubeObject): Promise<boolean> {
  return writer.get(object).then(
    () => true,
    (error: unknown) => {
      if (isNotFound(error)) return false;
      throw error;
    },
  );
}

/** What the group should hold, by a reading of the whole API server. */
async function expected(spec: SelectionSpec): Promise<Map<string, string>> {
  const { client, discovery, signal } = direct;
  const result = new Map<string, string>();
  const take = (object: KubeObject): void => void result.set(keyOf(object), normalise(object).hash);
  const read = async (group: string, kind: string): Promise<KubeObject[]> => {
    const resource = discovery.find(group, kind)?.versions[0];
    if (resource === undefined) return [];
    const items: KubeObject[] = [];
    for await (const page of client.list(resource, { signal })) items.push(...page.items);
    return items;
  };
  const selected = (await read("", "Namespace")).filter(
    ({ metadata }) =>
      spec.select.namespaces.names?.includes(metadata.name) === true ||
      (spec.select.namespaces.selector !== undefined && metadata.labels?.[`gold-${run}`] === "yes"),
  );
  selected.forEach(take);
  const spaces = new Set(selected.map((object) => object.metadata.name));
  const objects: KubeObject[] = [];
  for (const kind of kinds) {
    const group = kind === "Deployment" ? "apps" : kind === crdKind ? crdGroup : "";
    objects.push(...(await read(group, kind)).filter(({ metadata }) => spaces.has(metadata.namespace ?? "")));
  }
  const candidates = objects.filter(
    (object) =>
      object.metadata.name !== "kube-root-ca.crt" &&
      !(spec === specs[1] && object.kind === "Secret" && object.metadata.name.startsWith("b")) &&
      !(spec === specs[2] && object.metadata.labels?.["app"] === "picked"),
  );
  const taken = spec === specs[3] ? closeOver(candidates) : candidates;
  taken.forEach(take);
  if (taken.some((object) => object.kind === crdKind)) take(await writer.get(crd));
  return result;
}

/** Deployments that are picked bring their volumes' sources and the Services that select their pods. */
function closeOver(candidates: readonly KubeObject[]): KubeObject[] {
  const picked = candidates.filter((object) => object.metadata.labels?.["app"] === "picked");
  const isPicked = new Set(picked);
  const deployments = picked.filter((object) => object.kind === "Deployment");
  const pulled = candidates.filter((object) => {
    if (isPicked.has(object)) return false;
    return deployments.some((deployment) => {
      if (deployment.metadata.namespace !== object.metadata.namespace) return false;
      const { template } = deployment["spec"] as {
        template: {
          metadata: { labels: Record<string, string> };
          spec: { volumes: { configMap?: { name: string }; secret?: { secretName: string } }[] };
        };
      };
      const { name } = object.metadata;
      if (object.kind === "ConfigMap") return template.spec.volumes.some((volume) => volume.configMap?.name === name);
      if (object.kind === "Secret") return template.spec.volumes.some((volume) => volume.secret?.secretName === name);
      const { selector } = object["spec"] as { selector?: { app: string } };
      return object.kind === "Service" && selector?.app === template.metadata.labels["app"];
    });
  });
  return [...picked, ...pulled];
}

test("whatever users do and links suffer, the stream ends in what the selection says", async () => {
  let serial = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(3),
      fc.array(operation, { minLength: 5, maxLength: 40, size: "max" }),
      async (start, operations) => {
        let spec = specs[start] ?? selecting({ namespaces: {} });
        const name = `${run}-${++serial}`;
        const follower = through.capture(name, spec);
        try {
          for (const operation of operations) {
            await perform(operation, (chosen) => {
              spec = chosen;
              follower.capture.update(protectionGroup(name, chosen), chosen);
            });
          }
          await eventually(async () => {
            const wanted = await expected(spec);
            const own = `lifeboat.dev/ProtectionGroup//${name}`;
            const live = new Map(
              [...follower.held.keys()]
                .filter((key) => key !== own && !key.includes("lifeboat-canary"))
                .map((key) => [key, follower.capture.current(key).hash]),
            );
            expect(Object.fromEntries(live)).toEqual(Object.fromEntries(wanted));
          }, 30_000);
          expect(follower.capture.digest.bytes()).toEqual(digestOf(follower.capture, follower.held.keys()));
        } finally {
          follower.stop();
        }
      },
    ),
    { numRuns: 12, endOnFailure: true },
  );
});

function digestOf(capture: { current(key: string): { hash: string } }, keys: Iterable<string>): Buffer {
  const digest = new DigestTable();
  for (const key of keys) digest.toggle(key, capture.current(key).hash);
  return digest.bytes();
}
