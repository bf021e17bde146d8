/**
 * Specs and what is to be said of them. The same table is tried on parseGroup and on a real API server that has the
 * CustomResourceDefinition.
 */

type Spec = Record<string, unknown>;

export interface SpecCase {
  readonly title: string;
  readonly verdict: "accepted" | "refused";
  /** Makes the spec out of the least one. */
  readonly change: (least: Spec) => Spec;
  /** Part of what parseGroup says. */
  readonly message: string | undefined;
  /** Part of what the API server says; `undefined` where only the agent can tell. */
  readonly server: string | undefined;
}

const good = (title: string, more: Spec): SpecCase => ({
  title,
  verdict: "accepted",
  change: (least) => ({ ...least, ...more }),
  message: undefined,
  server: undefined,
});

const bad = (title: string, more: Spec, message: string, server: string | undefined): SpecCase => ({
  title,
  verdict: "refused",
  change: (least) => ({ ...least, ...more }),
  message,
  server,
});

const mutation = (fields: Spec): Spec => ({ mutations: [{ match: { kinds: ["ConfigMap"] }, ...fields }] });
const patch = (operation: Spec, fields: Spec = {}): Spec => mutation({ jsonPatch: [operation], ...fields });

export const specTable: readonly SpecCase[] = [
  good("no more than it must say", {}),
  good("every field", {
    mode: "ActiveStandby",
    standby: "PilotLight",
    suspend: true,
    select: {
      namespaces: {
        names: ["shop", "store"],
        selector: { matchLabels: { tier: "gold" }, matchExpressions: [{ key: "team", operator: "In", values: ["a"] }] },
      },
      objects: { selector: {}, references: false },
      exclude: [{ kinds: ["apps/Deployment", "ConfigMap"], names: ["tmp-*"] }],
    },
    mutations: [
      {
        match: { kinds: ["apps/Deployment"], selector: { matchLabels: { app: "web" } } },
        site: "west",
        when: "standby",
        labels: { set: { tier: "cold" }, remove: ["zone"], rename: { old: "new" }, templates: true },
      },
      { match: { kinds: ["apps/*"], names: ["web"], namespaces: ["sh*"] }, site: "west", when: "active", replicas: 2 },
      { match: { kinds: ["Service"] }, annotations: { set: { "example.com/a": "b c" }, remove: ["x"] } },
      {
        match: { kinds: ["ConfigMap"] },
        jsonPatch: [
          { op: "test", path: "/metadata/name", value: "site" },
          { op: "replace", path: "/data/region~1zone", value: "west" },
          { op: "add", path: "/data/list", value: ["a", { b: 1 }] },
          { op: "move", from: "/data/a", path: "/data/b" },
        ],
      },
    ],
    mappings: {
      namespaces: [{ east: "shop", west: "shop-dr" }],
      storageClasses: [{ east: "fast-east", west: "fast-west" }],
      registries: [{ east: "registry.east.example/", west: "registry.west.example/" }],
      ingressClasses: [],
      hosts: [{ east: ".east.example", west: ".west.example" }],
      cidrs: [{ east: "10.1.0.0/16", west: "10.2.0.0/16" }],
      loadBalancerIPs: [{ east: "192.0.2.1", west: "198.51.100.1" }],
    },
    profiles: [{ kind: "example.com/Thing", set: [{ path: "/spec/stopped", value: true }, { path: "/spec/run" }] }],
    objectives: { rpo: "5s", rto: "1m30s" },
    failover: { automatic: true, profile: "fast", fencing: { policy: "Unproven" }, maxLag: "500ms", cooldown: "1.5h" },
    deletes: { guard: { percent: 1, minObjects: 1, window: "10s" } },
    adopt: true,
  }),
  good("an active/active group with surge", { mode: "ActiveActive", failover: { surge: { percent: 200 } } }),
  good("a list that is replaced as a whole", patch({ op: "replace", path: "/data/list", value: [1] })),
  good("a list entry on the standby alone", patch({ op: "remove", path: "/data/list/0" }, { when: "standby" })),
  good("a list entry, knowingly", patch({ op: "add", path: "/data/list/-", value: 1 }, { irreversible: true })),
  bad(
    "an unknown field",
    { selct: {} },
    "spec.selct: unknown field; did you mean select?",
    'unknown field "spec.selct"',
  ),
  bad(
    "an unknown field deep inside",
    { failover: { fencing: { polcy: "Guard" } } },
    "spec.failover.fencing.polcy: unknown field; did you mean policy?",
    'unknown field "spec.failover.fencing.polcy"',
  ),
  bad(
    "a wrong type",
    { suspend: "yes" },
    "spec.suspend: must be a boolean, not a string",
    'spec.suspend: Invalid value: "string"',
  ),
  bad(
    "a word that is none of the known",
    { standby: "Hot" },
    "spec.standby: must be one of PilotLight, Warm",
    "Unsupported value",
  ),
  bad(
    "a duration without a unit",
    { objectives: { rpo: "5" } },
    "spec.objectives.rpo: must be a duration",
    "spec.objectives.rpo",
  ),
  bad("nothing selected", { select: { namespaces: {} } }, "selects nothing", "selects nothing"),
  bad("no names", { select: { namespaces: { names: [] } } }, "selects nothing", "selects nothing"),
  bad("no select", { select: undefined }, "spec.select: is required", "spec.select: Required value"),
  bad(
    "an empty namespace selector",
    { select: { namespaces: { names: ["shop"], selector: {} } } },
    "an empty selector would select every namespace",
    "an empty selector would select every namespace",
  ),
  bad(
    "one site",
    { sites: [{ name: "east" }] },
    "spec.sites: must have at least 2 entries",
    "should have at least 2 items",
  ),
  bad(
    "sites of one name",
    { sites: [{ name: "east" }, { name: "east" }] },
    "spec.sites: the two sites must differ, both are east",
    "the two sites must differ",
  ),
  bad(
    "a site called witness",
    { sites: [{ name: "east" }, { name: "witness" }] },
    "spec.sites[1].name: must not be witness",
    "a site must not be named witness",
  ),
  bad(
    "a site name with capitals",
    { sites: [{ name: "East" }, { name: "west" }] },
    "spec.sites[0].name",
    "spec.sites[0].name",
  ),
  bad(
    "a mutation for an unknown site",
    mutation({ site: "wets", replicas: 1 }),
    "spec.mutations[0].site: wets is not one of spec.sites (east, west); did you mean west?",
    "a mutation's site must be one of spec.sites",
  ),
  bad("a mutation without an action", mutation({}), "it has none", "needs exactly one of"),
  bad(
    "a mutation of two actions",
    mutation({ replicas: 1, labels: {} }),
    "it has labels and replicas",
    "needs exactly one of",
  ),
  bad(
    "a label that is none",
    mutation({ labels: { set: { a: "b c" } } }),
    "must be a label value",
    "spec.mutations[0].labels.set.a",
  ),
  bad(
    "a label meant twice",
    mutation({ labels: { set: { a: "b" }, rename: { a: "c" } } }),
    "a is named twice",
    undefined,
  ),
  bad(
    "one of our own marks",
    mutation({ labels: { remove: ["lifeboat.dev/group"] } }),
    "belongs to Lifeboat",
    undefined,
  ),
  bad("replicas below zero", mutation({ replicas: -1 }), "must be at least 0", "greater than or equal to 0"),
  bad("half a replica", mutation({ replicas: 1.5 }), "must be a whole number", "must be of type integer"),
  bad(
    "a JSON pointer without a slash",
    patch({ op: "replace", path: "data/x", value: 1 }),
    "spec.mutations[0].jsonPatch[0].path: must be a JSON pointer",
    "spec.mutations[0].jsonPatch[0].path",
  ),
  bad(
    "a JSON pointer with a wrong escape",
    patch({ op: "remove", path: "/data/~2" }),
    "must be a JSON pointer",
    "jsonPatch[0].path",
  ),
  bad(
    "a patch without value",
    patch({ op: "replace", path: "/data/x" }),
    "jsonPatch[0].value: is required for replace",
    undefined,
  ),
  bad(
    "a move from nowhere",
    patch({ op: "move", path: "/data/x" }),
    "from: is required for move",
    "move and copy need from",
  ),
  bad(
    "a patch of the name",
    patch({ op: "replace", path: "/metadata/name", value: "b" }),
    "cannot be patched",
    "cannot be patched",
  ),
  bad(
    "a list entry that cannot be put back",
    patch({ op: "add", path: "/data/list/-", value: 1 }),
    "spec.mutations[0].jsonPatch[0]: add /data/list/- changes which entries a list has, which cannot be undone",
    "cannot be undone from the other site",
  ),
  bad(
    "a list entry moved away",
    patch({ op: "move", from: "/data/list/0", path: "/data/x" }),
    "cannot be undone",
    "cannot be undone from the other site",
  ),
  bad(
    "a mapping for an unknown site",
    { mappings: { hosts: [{ east: "a.example", north: "b.example" }] } },
    "spec.mappings.hosts[0]: north is not one of spec.sites",
    "each entry of mappings.hosts must give a value for each of the two sites",
  ),
  bad(
    "a mapping for one site only",
    { mappings: { storageClasses: [{ east: "fast" }] } },
    "spec.mappings.storageClasses[0]: gives no value for west",
    "each entry of mappings.storageClasses",
  ),
  bad(
    "two mappings to one",
    {
      mappings: {
        hosts: [
          { east: "a", west: "c" },
          { east: "b", west: "c" },
        ],
      },
    },
    "spec.mappings.hosts[1]: collides with spec.mappings.hosts[0]: both are c at west",
    undefined,
  ),
  bad(
    "a namespace mapped onto another of the group",
    {
      select: { namespaces: { names: ["shop", "shop-dr"] } },
      mappings: { namespaces: [{ east: "shop", west: "shop-dr" }] },
    },
    "shop and shop-dr would both be shop-dr",
    undefined,
  ),
  bad(
    "a percentage above 100",
    { deletes: { guard: { percent: 101 } } },
    "must be at most 100",
    "less than or equal to 100",
  ),
];
