import * as z from "zod";
import {
  duration,
  kindGlob,
  labelKey,
  labelMap,
  labelSelector,
  listMaxCount,
  namespaceName,
  objectMatch,
  perSite,
  pointer,
  siteName,
} from "./fields.ts";
import { groupStatusSchema } from "./status.ts";

/**
 * The ProtectionGroup: the one source from which the agent validates specs and the CustomResourceDefinition and its
 * reference page are generated. Validation rules in CEL stand next to the fields that they are about; what CEL cannot
 * say in reasonable cost is checked by `parseGroup` alone.
 */

export const groupApi = {
  group: "lifeboat.dev",
  version: "v1alpha1",
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  plural: "protectiongroups",
  singular: "protectiongroup",
  shortName: "pg",
} as const;

/** What a surge may be, in percent of the usual replicas. */
export const surgePercents = { least: 100, most: 1000 } as const;

/** The API server adds up what its rules could cost at worst; more than this many would be over its budget. */
const mutationsMaxCount = 64;
const patchMaxCount = 32;

/** A CEL rule as it goes into the CRD. */
interface Rule {
  readonly rule: string;
  readonly message: string;
}
const rules = (...list: Rule[]) => ({ "x-kubernetes-validations": list });

const sitesSchema = z
  .array(
    z
      .strictObject({ name: siteName("Name of the site, the one that its agent is configured with.") })
      .describe("A site."),
  )
  .length(2, { error: "must name exactly two sites" })
  .describe("The two sites of the group. The first one is preferred: it is active first, and failback leads to it.")
  .meta(
    rules(
      { rule: "self.size() != 2 || self[0].name != self[1].name", message: "the two sites must differ" },
      { rule: "self.all(s, s.name != 'witness')", message: "a site must not be named witness" },
    ),
  );

const selectSchema = z
  .strictObject({
    namespaces: z
      .strictObject({
        names: z
          .array(namespaceName("A namespace, as it is named on the first site."))
          .max(listMaxCount)
          .describe("Namespaces by name, as they are named on the first site.")
          .optional(),
        selector: labelSelector(
          "Namespaces by label. Namespaces that appear or get the label later follow; an empty selector is refused.",
        ).optional(),
      })
      .describe("Namespaces that the group protects: the union of both fields.")
      .meta(
        rules(
          {
            rule: "(has(self.names) && self.names.size() > 0) || has(self.selector)",
            message: "selects nothing: give names, or a selector that is not empty",
          },
          {
            rule:
              "!has(self.selector) || (has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0) || " +
              "(has(self.selector.matchExpressions) && self.selector.matchExpressions.size() > 0)",
            message: "an empty selector would select every namespace; name a label",
          },
        ),
      ),
    objects: z
      .strictObject({
        selector: labelSelector("Labels that an object must have to be protected. Empty selects all.").optional(),
        references: z
          .boolean()
          .default(true)
          .describe(
            "Also take what the selected objects need: ServiceAccounts, Secrets, ConfigMaps, PersistentVolumeClaims, Services.",
          ),
      })
      .describe("Protects only some objects of the namespaces, for example one database of three.")
      .optional(),
    exclude: z
      .array(objectMatch("Objects that are left out: all stated conditions must hold."))
      .max(listMaxCount)
      .describe("Objects that are left out. Any entry that matches leaves an object out.")
      .optional(),
  })
  .describe("What the group protects.");

// That add, replace and test need a value cannot be said in CEL: a field without a type is invisible to it.
const jsonPatchOperation = z
  .strictObject({
    op: z.enum(["add", "remove", "replace", "move", "copy", "test"]).describe("Operation of RFC 6902."),
    path: pointer("JSON pointer to the field."),
    from: pointer("JSON pointer to the source field, for move and copy.").optional(),
    value: z.unknown().describe("Value for add, replace and test.").optional(),
  })
  .describe("One operation of a JSON patch (RFC 6902).")
  .meta(
    rules(
      {
        rule: "!(self.op in ['move', 'copy']) || has(self.from)",
        message: "move and copy need from",
      },
      {
        rule: "self.op == 'test' || !(self.path in ['/apiVersion', '/kind', '/status', '/metadata', '/metadata/name', '/metadata/namespace'] || self.path.startsWith('/status/'))",
        message: "apiVersion, kind, status, metadata as a whole, name and namespace cannot be patched",
      },
    ),
  );

const mutationSchema = z
  .strictObject({
    match: objectMatch("Objects that are changed: all stated conditions must hold."),
    site: siteName("Site at which the change is made. Absent: at either.").optional(),
    when: z
      .enum(["standby", "active", "always"])
      .default("always")
      .describe("Role of that site in which the change is made."),
    irreversible: z
      .boolean()
      .default(false)
      .describe("Accepts a change in the active role that cannot be undone on the way back to the other site."),
    labels: z
      .strictObject({
        set: labelMap("Labels to set.").optional(),
        remove: z.array(labelKey("Name of a label.")).max(listMaxCount).describe("Labels to remove.").optional(),
        rename: z
          .record(z.string(), labelKey("New name of the label."))
          .describe("Labels to rename, old name to new name; the value stays.")
          .optional(),
        templates: z
          .boolean()
          .default(false)
          .describe(
            "Change the labels of pod templates too. Selectors of matched objects follow a rename; a change that would part a selector from its pods is refused.",
          ),
      })
      .describe("Changes labels of the object.")
      .optional(),
    annotations: z
      .strictObject({
        set: z.record(z.string(), z.string().describe("Value.")).describe("Annotations to set.").optional(),
        remove: z
          .array(labelKey("Name of an annotation."))
          .max(listMaxCount)
          .describe("Annotations to remove.")
          .optional(),
      })
      .describe("Changes annotations of the object.")
      .optional(),
    replicas: z.int32().min(0).max(100_000).describe("Sets spec.replicas.").optional(),
    jsonPatch: z
      .array(jsonPatchOperation)
      .min(1)
      .max(patchMaxCount)
      .describe("A JSON patch (RFC 6902) on the object as it is at the site, after the mappings.")
      .optional(),
  })
  .describe("One change to objects on their way to a site. Exactly one of labels, annotations, replicas, jsonPatch.")
  .meta(
    rules(
      {
        rule: "[has(self.labels), has(self.annotations), has(self.replicas), has(self.jsonPatch)].filter(x, x).size() == 1",
        message: "needs exactly one of labels, annotations, replicas, jsonPatch",
      },
      {
        rule:
          "!has(self.jsonPatch) || self.when == 'standby' || self.irreversible || " +
          "self.jsonPatch.all(p, p.op in ['replace', 'test'] || !(p.path.matches('/([0-9]+|-)$') || " +
          "(p.op == 'move' && has(p.from) && p.from.matches('/([0-9]+|-)$'))))",
        message:
          "changes which entries a list has, which cannot be undone from the other site; replace the whole list or " +
          "accept it with irreversible: true",
      },
    ),
  );

const mapping = (what: string, example: string, maxLength: number) =>
  z
    .array(
      perSite(
        `One value per site, such as ${example}.`,
        z.string().min(1).max(maxLength).describe("The value at the site."),
      ),
    )
    .max(listMaxCount)
    .describe(what)
    .optional();

const mappingsSchema = z
  .strictObject({
    namespaces: mapping(
      "Namespaces that are named differently. Followed wherever Kubernetes itself reads the name.",
      "{east: shop, west: shop-dr}",
      63,
    ),
    storageClasses: mapping("StorageClasses.", "{east: fast-east, west: fast-west}", 253),
    registries: mapping(
      "Beginnings of image names.",
      "{east: registry.east.example/, west: registry.west.example/}",
      255,
    ),
    ingressClasses: mapping("Classes of Ingresses and of Gateways.", "{east: nginx, west: haproxy}", 253),
    hosts: mapping(
      "Host names of Ingresses, Gateways and routes. A value that begins with a dot maps every host below it.",
      "{east: shop.east.example, west: shop.west.example}",
      253,
    ),
    cidrs: mapping(
      "Address ranges in NetworkPolicies and in the source ranges of Services.",
      "{east: 10.1.0.0/16, west: 10.2.0.0/16}",
      43,
    ),
    loadBalancerIPs: mapping(
      "Load balancer addresses and external addresses of Services.",
      "{east: 192.0.2.10, west: 198.51.100.10}",
      45,
    ),
  })
  .describe("Values that differ between the sites, given per site so that one spec renders in both directions.");

const profileSchema = z
  .strictObject({
    kind: kindGlob("group/Kind of the custom resource."),
    set: z
      .array(
        z
          .strictObject({
            path: pointer("JSON pointer to the field; a part that is * stands for every entry."),
            value: z.unknown().describe("Value while the site is standby. Absent: the field is removed.").optional(),
          })
          .describe("One field."),
      )
      .max(64)
      .describe("Fields that keep the resource from running; the source's values come back on promotion.")
      .optional(),
    withhold: z.boolean().default(false).describe("Create the resource only when the site becomes active."),
  })
  .describe("How a kind of custom resource is kept from running on the standby. It wins over a built-in profile.");

const failoverSchema = z
  .strictObject({
    automatic: z.boolean().default(false).describe("Let the witness move the group when the active site is lost."),
    profile: z
      .enum(["fast", "standard", "api", "test"])
      .default("standard")
      .describe(
        "Timing of leases: fast about 31 s to the first start, standard 53 s, api (stopping pods through the API server alone) 103.5 s; test is for tests.",
      ),
    fencing: z
      .strictObject({
        policy: z
          .enum(["Guard", "Storage", "Unproven"])
          .default("Guard")
          .describe(
            "What must be able to stop the old site before the witness moves the group by itself. Unproven accepts a stop through the API server alone. Storage is not there yet: it is accepted with a warning and treated as Guard.",
          ),
      })
      .prefault({})
      .describe("How it is made sure that the old active site no longer runs the group."),
    maxLag: duration("The witness does not move the group by itself when the standby is further behind.").default(
      "30s",
    ),
    cooldown: duration("Least time between two automatic failovers. A failover by hand does not wait for it.").default(
      "1h",
    ),
    surge: z
      .strictObject({
        percent: z
          .int32()
          .min(surgePercents.least)
          .max(surgePercents.most)
          .describe(
            "Replicas of the surviving site in percent of its usual ones; a workload's annotation `lifeboat.dev/surge` takes its place.",
          ),
      })
      .describe("ActiveActive only: what the surviving site does to carry the load of both.")
      .optional(),
  })
  .describe("When and how the group moves to the other site.");

const deletesSchema = z
  .strictObject({
    guard: z
      .strictObject({
        percent: z.int32().min(1).max(100).default(30).describe("Share of the group's objects, in percent."),
        minObjects: z
          .int32()
          .min(1)
          .max(1_000_000)
          .default(10)
          .describe("Fewer deletes than this never count as too many."),
        window: duration("Time over which deletes are counted.").default("1m"),
      })
      .prefault({})
      .describe("Deletes are held back, and reported, when more than this vanishes at once."),
  })
  .describe("How deletes are replicated.");

export const groupSpecSchema = z
  .strictObject({
    sites: sitesSchema,
    mode: z
      .enum(["ActiveStandby", "ActiveActive"])
      .default("ActiveStandby")
      .describe(
        'Whether one site runs the group, or both do. In ActiveActive objects replicate both ways, the later write counts, and what carries the label or annotation lifeboat.dev/singleton: "true" runs at one site. It cannot be changed.',
      ),
    standby: z
      .enum(["PilotLight", "Warm"])
      .default("Warm")
      .describe("PilotLight keeps a journal and applies nothing. Warm applies objects, scaled to zero."),
    suspend: z
      .boolean()
      .default(false)
      .describe(
        "Apply nothing at the standby: what is there stays as it is, deletes and repairs wait too. Its journal goes on receiving, so that a failover brings up the newest state all the same.",
      ),
    select: selectSchema,
    mutations: z.array(mutationSchema).max(mutationsMaxCount).describe("Changes to objects, made in order.").optional(),
    mappings: mappingsSchema.optional(),
    profiles: z
      .array(profileSchema)
      .max(listMaxCount)
      .describe("Standby profiles for kinds of custom resources, in addition to the built-in ones.")
      .optional(),
    objectives: z
      .strictObject({
        rpo: duration("Most data, in time, that may be lost.").optional(),
        rto: duration("Longest time until the service is back.").optional(),
      })
      .describe("What the group is measured against.")
      .optional(),
    failover: failoverSchema.prefault({}),
    deletes: deletesSchema.prefault({}),
    adopt: z
      .boolean()
      .default(false)
      .describe("Overwrite objects of the same name that exist on the standby and that no group has put there."),
  })
  .describe("What is protected, how, and when it moves.")
  .meta(
    rules(
      {
        rule: "!has(self.mutations) || self.mutations.all(m, !has(m.site) || self.sites.exists(s, s.name == m.site))",
        message: "a mutation's site must be one of spec.sites",
      },
      {
        rule: "self.sites.all(s, oldSelf.sites.exists(o, o.name == s.name))",
        message: "the names of the sites cannot be changed; create another group",
      },
      {
        rule: "self.mode == oldSelf.mode",
        message: "the mode cannot be changed; delete the group, which stops nothing, and create it anew",
      },
      ...(
        ["namespaces", "storageClasses", "registries", "ingressClasses", "hosts", "cidrs", "loadBalancerIPs"] as const
      ).map((field) => ({
        rule: `!has(self.mappings) || !has(self.mappings.${field}) || self.mappings.${field}.all(m, m.size() == 2 && self.sites.all(s, s.name in m))`,
        message: `each entry of mappings.${field} must give a value for each of the two sites`,
      })),
    ),
  );

export type GroupSpec = z.output<typeof groupSpecSchema>;
/** A spec as people write it, without the defaults. */
export type GroupSpecInput = z.input<typeof groupSpecSchema>;
export type GroupStatus = z.output<typeof groupStatusSchema>;
export type Mutation = z.output<typeof mutationSchema>;
export type ProfileSpec = z.output<typeof profileSchema>;
export type Mappings = z.output<typeof mappingsSchema>;

/** A ProtectionGroup with a valid spec, all defaults filled in. */
export interface ProtectionGroup {
  readonly name: string;
  readonly uid: string | undefined;
  readonly generation: number | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: GroupSpec;
  /** As stored, not validated: agents of other versions write it too. */
  readonly status: Partial<GroupStatus>;
}

/** The other one of the group's two sites. Throws RangeError when `site` is none of them. */
export function peerOf(spec: GroupSpec, site: string): string {
  const names = spec.sites.map((entry) => entry.name);
  const peer = names.find((name) => name !== site);
  if (!names.includes(site) || peer === undefined) throw new RangeError(`${site} is not a site of this group`);
  return peer;
}
