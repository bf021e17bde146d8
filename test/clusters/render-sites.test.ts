import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { groupSpecSchema, type GroupSpecInput } from "../../src/config/group.ts";
import { marks, type KubeObject } from "../../src/objects/object.ts";
import { indexLabels } from "../../src/render/mutations/label-index.ts";
import { builtInProfiles } from "../../src/render/profiles/table.ts";
import { fromHeld } from "../../src/render/marks.ts";
import { render } from "../../src/render/render.ts";
import type { Facts, Role } from "../../src/render/types.ts";
import { definitionOf } from "../definition.ts";
import { withoutMarks } from "../unit/render/helpers.ts";
import { recordOf, Site } from "./render-site.ts";

/** An application of several objects: to the other site under other names, and back again. */

const here = `app-${process.pid}`;
const there = `${here}-dr`;
let east: Site;
let west: Site;
const definitions: KubeObject[] = [];

const namespaced = (name: string): KubeObject => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } });

beforeAll(async () => {
  [east, west] = await Promise.all([Site.open("east"), Site.open("west")]);
  await east.create(namespaced(here));
  await west.create(namespaced(there));
});

afterAll(async () => {
  await east.remove(namespaced(here));
  await west.remove(namespaced(there));
  for (const site of [east, west]) {
    for (const definition of definitions) await site.remove(definition);
    await site.client.close();
  }
});

const specOf = (more: Partial<GroupSpecInput> = {}) =>
  groupSpecSchema.parse({
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: [here] } },
    mappings: {
      namespaces: [{ east: here, west: there }],
      registries: [{ east: "any/", west: "other/" }],
      hosts: [{ east: "shop.east.example", west: "shop.west.example" }],
    },
    ...more,
  });

/** What a person sees of an object, without what each site's own controllers note in it. */
function form(live: KubeObject): KubeObject {
  const { object } = recordOf(live);
  delete object.metadata.annotations?.["deployment.kubernetes.io/revision"];
  return withoutMarks(object);
}

interface Direction {
  readonly role: Role;
  readonly to?: "east" | "west";
  readonly spec?: ReturnType<typeof specOf>;
  readonly facts?: Facts;
}

/** Renders a live object of one site for the other and applies it there. */
async function carry(live: KubeObject, { role, to = "west", spec = specOf(), facts = {} }: Direction) {
  const source = to === "west" ? "east" : "west";
  const result = render(recordOf(live), { spec, group: "shop", site: to, source, role, epoch: "1.1", facts });
  const [object] = result.objects;
  if (object === undefined) throw new Error(`withheld: ${result.withheld?.message}`);
  return { result, live: await (to === "west" ? west : east).apply(object) };
}

function object(apiVersion: string, kind: string, name: string, rest: Record<string, unknown>): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace: here, labels: { app: name } }, ...rest };
}

const deployment = (name: string) =>
  object("apps/v1", "Deployment", name, {
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: "web", image: "any/web:1", env: [{ name: "DB", value: `db.${here}.svc` }] }] },
      },
    },
  });

const application = (): KubeObject[] => [
  deployment("web"),
  object("v1", "ConfigMap", "site", { data: { region: "east", other: "x" } }),
  object("v1", "Service", "web", { spec: { selector: { app: "web" }, ports: [{ port: 80 }] } }),
  object("networking.k8s.io/v1", "NetworkPolicy", "web", {
    spec: {
      podSelector: { matchLabels: { app: "web" } },
      policyTypes: ["Ingress"],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": here } } }] }],
    },
  }),
  object("networking.k8s.io/v1", "Ingress", "web", {
    spec: {
      rules: [
        {
          host: "shop.east.example",
          http: {
            paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } }],
          },
        },
      ],
    },
  }),
  object("rbac.authorization.k8s.io/v1", "RoleBinding", "web", {
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" },
    subjects: [{ kind: "ServiceAccount", name: "web", namespace: here }],
  }),
  object("batch/v1", "CronJob", "nightly", {
    spec: {
      schedule: "0 0 1 1 *",
      jobTemplate: {
        spec: { template: { spec: { restartPolicy: "Never", containers: [{ name: "j", image: "any/j" }] } } },
      },
    },
  }),
];

describe("an application", () => {
  it("goes to the other site under its names, and comes back as it was", async () => {
    const spec = specOf({
      mutations: [
        { match: { kinds: ["apps/Deployment"] }, site: "west", when: "active", replicas: 2 },
        {
          match: { kinds: ["ConfigMap"], names: ["site"] },
          site: "west",
          jsonPatch: [{ op: "replace", path: "/data/region", value: "west" }],
        },
        { match: {}, site: "west", when: "standby", labels: { set: { tier: "cold" } } },
        { match: {}, site: "west", when: "active", annotations: { set: { "example.com/site": "west" } } },
      ],
    });
    for (const source of application()) {
      const original = await east.create(source);
      const copy = (await carry(original, { spec, role: "standby" })).live;
      expect(copy.metadata).toMatchObject({ namespace: there, labels: { tier: "cold" } });
      // Nothing in it names the source any more but text that only the application reads.
      const named = JSON.stringify(copy).replaceAll(`db.${here}.svc`, "").replaceAll(there, "");
      expect(named).not.toContain(here);

      const promoted = (await carry(original, { spec, role: "active" })).live;
      expect(promoted.metadata.labels).not.toHaveProperty("tier");
      expect(promoted.metadata.annotations).toMatchObject({ "example.com/site": "west" });
      if (source.kind === "ConfigMap") expect(promoted["data"]).toEqual({ region: "west", other: "x" });

      const back = (await carry(promoted, { spec, role: "active", to: "east" })).live;
      expect(form(back)).toEqual(form(original));
    }
  });

  it("whose labels are renamed keeps its selectors working at the other site", async () => {
    const web = await east.create(deployment("relabelled"));
    const service = await east.create(
      object("v1", "Service", "relabelled", { spec: { selector: { app: "relabelled" }, ports: [{ port: 80 }] } }),
    );
    const facts = { labels: indexLabels([web, service]) };
    const mutation = { match: {}, site: "west", labels: { rename: { app: "example.com/name" }, templates: true } };
    const spec = specOf({ mutations: [mutation] });
    const there = (await carry(web, { spec, facts, role: "active" })).live;
    const name = { "example.com/name": "relabelled" };
    expect(there).toMatchObject({
      spec: { selector: { matchLabels: name }, template: { metadata: { labels: name } } },
    });
    expect((await carry(service, { spec, facts, role: "active" })).live).toMatchObject({ spec: { selector: name } });
    await west.eventually(there, (live) => (live["status"] as { replicas?: number }).replicas === 3);

    const half = specOf({ mutations: [{ ...mutation, match: { kinds: ["apps/*"] } }] });
    const refused = await carry(web, { spec: half, facts, role: "standby" }).catch((error: unknown) => error);
    // The selector is for ever: the standby is made anew by whoever applies. Here it says what render refused.
    expect(String(refused)).toContain("immutable");
    const { findings } = render(recordOf(web), {
      spec: half,
      group: "shop",
      site: "west",
      source: "east",
      role: "standby",
      epoch: "1.1",
      facts,
    });
    expect(findings.map((finding) => finding.code)).toContain("MutationRefused");
  });
});

describe("custom resources of operators", () => {
  /** A small structural definition stands in for the operator's own. */
  function standInOf(operatorKind: string): KubeObject {
    const [group = "", kind = ""] = operatorKind.split("/");
    const standIn = definitionOf({ group, kind, plural: `${kind.toLowerCase()}s` });
    if (!group.endsWith(".k8s.io") && !group.endsWith("x-k8s.io")) return standIn;
    const annotations = { "api-approved.kubernetes.io": "unapproved, for tests" };
    return { ...standIn, metadata: { ...standIn.metadata, annotations } };
  }

  const kinds = [...builtInProfiles.keys()].filter((kind) =>
    /^(keda|argoproj|serving\.knative|kubevirt|apps\.kruise|kafka|postgresql|acid|pxc|rabbitmq|cassandra|couchbase|monitoring)/.test(
      kind,
    ),
  );

  it("are held on the standby by their profile and come back as they were", async () => {
    for (const kind of kinds) {
      const definition = standInOf(kind);
      definitions.push(definition);
      await Promise.all([east.apply(definition), west.apply(definition)]);
    }
    const spec = {
      replicas: 3,
      suspend: false,
      numberOfInstances: 2,
      instances: 3,
      running: true,
      template: { spec: { x: 1 } },
    };
    for (const kind of kinds) {
      const [group, name = ""] = kind.split("/");
      const apiVersion = `${group}/v1`;
      await Promise.all([east.served(apiVersion, name), west.served(apiVersion, name)]);
      const original = await east.create(object(apiVersion, name, "x", { spec }));
      const plain = recordOf(original).object;
      const active = () => carry(original, { role: "active" });
      if (builtInProfiles.get(kind)?.withhold === true) {
        await expect(carry(original, { role: "standby" })).rejects.toThrow("withheld");
        expect((await active()).live["spec"]).toEqual(spec);
        continue;
      }
      const copy = (await carry(original, { role: "standby" })).live;
      expect(JSON.stringify([copy["spec"], withoutMarks(copy).metadata.annotations]), kind).not.toBe(
        JSON.stringify([plain["spec"], plain.metadata.annotations]),
      );
      expect(copy.metadata.annotations?.[marks.held], kind).toBeDefined();
      const promoted = await west.apply(fromHeld(copy));
      expect(promoted["spec"], kind).toEqual(spec);
      expect(withoutMarks(promoted).metadata.annotations, kind).toEqual(plain.metadata.annotations);
    }
  });
});
