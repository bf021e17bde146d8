import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Registry } from "prom-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { journalPath } from "../../src/agent/group-runtime.ts";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import { StateFile } from "../../src/journal/state.ts";
import { apiVersionOf, type KubeResource } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { metricTable } from "../../src/telemetry/metrics.ts";
import { createWitnessMetrics } from "../../src/witness/metrics.ts";
import { findProcesses, isWrapper } from "../bed/processes.ts";
import { writeCertificates } from "../pair/files.ts";
import { hasCondition } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import {
  configMap,
  dataOf,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  type Scene,
  secret,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** What may be wrong around an agent: it says so, harms nothing, and the other groups go on. West is a minor older. */

let scene: Scene;
const isRoot = process.getuid?.() === 0;
const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const secretValue = "a-value-that-no-log-may-show";

async function protect(name: string, change: Partial<GroupSpecInput> = {}): Promise<void> {
  await scene.apply("east", namespace(name), configMap(name, "first", { a: "1" }));
  await scene.pair.applyGroup("east", name, groupSpec([name], change), scene.signal);
}

/** Message of a condition that holds, with its reason; "" where it does not hold. */
function held({ conditions }: Partial<GroupStatus>, type: string): string {
  const found = conditions?.find((condition) => condition.type === type);
  return found?.status === "True" ? `${found.reason}: ${found.message}` : "";
}

async function untilDegraded(site: SiteName, group: string, pattern: RegExp): Promise<Partial<GroupStatus>> {
  return scene.untilStatus(`degraded (${pattern.source})`, site, group, (status) =>
    pattern.test(held(status, "Degraded")),
  );
}

/** Of the agent's events about a group: `Reason: note`. */
async function events(site: SiteName, group: string): Promise<string[]> {
  const text = await scene.client(site).request("GET", "/apis/events.k8s.io/v1/events", { signal: scene.signal });
  const { items } = JSON.parse(text) as { items: { reason: string; note: string; regarding?: { name: string } }[] };
  return items.filter(({ regarding }) => regarding?.name === group).map(({ reason, note }) => `${reason}: ${note}`);
}

/** Starts an agent with a changed configuration for as long as `work` takes. */
async function withConfig(
  site: SiteName,
  change: Readonly<Record<string, unknown>>,
  work: () => Promise<void>,
  start: () => Promise<unknown> = () => scene.pair.startAgent(site),
): Promise<void> {
  const path = scene.pair.configPath(site);
  const before = await readFile(path, "utf8");
  await scene.pair.stopMember(site);
  await writeFile(path, stringify({ ...(parse(before) as object), ...change }));
  try {
    await start();
    await work();
  } finally {
    await scene.pair.stopMember(site);
    await writeFile(path, before);
    await scene.pair.startAgent(site);
  }
}

/** Writes an object of a kind that the harness does not know. */
async function write(site: SiteName, resource: KubeResource, object: Readonly<Record<string, unknown>>): Promise<void> {
  const whole = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object } as KubeObject;
  await scene.client(site).apply(resource, whole, { fieldManager: "user", force: true, signal: scene.signal });
}

async function discard(site: SiteName, resource: KubeResource, name: string): Promise<void> {
  await scene.client(site).delete(resource, { name }, { signal: scene.signal });
}

function resource(group: string, version: string, kind: string, plural: string, namespaced: boolean): KubeResource {
  return { group, version, kind, plural, namespaced, verbs: new Set(), subresources: new Set() };
}

function definition(group: string, kind: string, name: string, versions: readonly string[]): KubeObject {
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${name}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, plural: name, singular: name.replace(/s$/, "") },
      versions: versions.map((version, at) => ({ name: version, served: true, storage: at === 0, schema })),
    },
  };
}

beforeAll(async () => {
  scene = await startScene({
    sites: ["east", { name: "west", emulatedVersion: "1.33" }],
    controllers: false,
    logLevel: "trace",
  });
  await protect("shop");
  await scene.untilStatus("caught up", "west", "shop", isCaughtUp);
});
afterAll(async () => scene?.stop());

describe("a spec", () => {
  it("that claims another group's namespace is refused with the other's name, and the other goes on", async () => {
    await scene.pair.applyGroup("east", "rival", groupSpec(["shop"]), scene.signal);
    const refused = await scene.untilStatus("refused", "east", "rival", ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Accepted" && status === "False") ?? false;
    });
    expect(refused.reason).toContain("shop");
    await scene.apply("east", configMap("shop", "first", { a: "2" }));
    await expectSame(scene, ["shop"]);
  });

  it("whose mutation matches nothing works, with a warning", async () => {
    const mutations: GroupSpecInput["mutations"] = [
      { match: { kinds: ["ConfigMap"], names: ["nothing"] }, labels: { set: { a: "b" } } },
    ];
    await scene.pair.applyGroup("east", "shop", groupSpec(["shop"], { mutations }), scene.signal);
    const warned = await scene.untilStatus("warned", "east", "shop", ({ conditions }) => {
      return conditions?.find(({ type }) => type === "Accepted")?.message.includes("matches") ?? false;
    });
    expect(warned.role).toBe("active");
    await scene.pair.applyGroup("east", "shop", groupSpec(["shop"]), scene.signal);
  });

  it("that names a site which does not exist is refused, and the other groups go on", async () => {
    const sites = [{ name: "east" }, { name: "nowhere" }];
    await scene.pair.applyGroup("east", "other", groupSpec(["other"], { sites }), scene.signal);
    const refused = await scene.untilStatus("refused", "east", "other", ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Accepted" && status === "False") ?? false;
    });
    expect(refused.conditions?.find(({ type }) => type === "Accepted")).toMatchObject({
      reason: "UnknownPeer",
      message: expect.stringContaining("no peer nowhere: its agent is configured with west") as string,
    });
    await scene.apply("east", configMap("shop", "first", { a: "3" }));
    await expectSame(scene, ["shop"]);
  });
});

describe("a journal", () => {
  it("that is damaged or of another program stops its group alone, says so there, and nothing is overwritten", async () => {
    await protect("second");
    await scene.untilStatus("caught up", "west", "second", isCaughtUp);
    await scene.pair.stopMember("west");
    const path = journalPath(scene.pair.dataDir("west"), "second");
    await writeFile(path, "this is no journal");
    await scene.pair.startAgent("west");
    await scene.apply("east", configMap("shop", "first", { a: "4" }), configMap("second", "first", { a: "2" }));
    await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === "4");
    expect(await scene.log("west")).toMatch(/"group":"second".*"code":"JournalCorrupt".*cannot open the journal/);
    expect(dataOf(await scene.find("west", configMap("second", "first")))).toEqual({ a: "1" });
    const status = await untilDegraded("west", "second", /^JournalCorrupt: .*; .*[Mm]ove/);
    expect(status).toMatchObject({ role: "unknown", state: "Unopened" });
    expect(status.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
    await waitFor(
      "the event",
      async () => (await events("west", "second")).find((e) => e.startsWith("JournalCorrupt")),
      {
        limitMs: patienceMs,
        signal: scene.signal,
      },
    );
    await rm(path);
    await scene.pair.restartAgent("west");
    await scene.untilStatus("caught up", "west", "second", isCaughtUp);
    await expectSame(scene, ["second"]);
  });

  it.runIf(isRoot)("whose disk is full takes nothing more, says so, and goes on when there is room", async () => {
    const dataDir = join(scene.bed.site("west").dir, "small-disk");
    await mkdir(dataDir, { recursive: true });
    const [found] = (await findProcesses(scene.bed.dir)).filter(
      (each) => each.name === "west/etcd" && !isWrapper(each),
    );
    const inSite = (...argv: string[]) => run("nsenter", ["-t", String(found?.pid), "-m", ...argv]);
    await inSite("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", dataDir);
    await withConfig("west", { dataDir }, async () => {
      await scene.untilStatus("caught up", "west", "shop", isCaughtUp);
      const filler = join(dataDir, "filler");
      await inSite("sh", "-c", `dd if=/dev/zero of=${filler} bs=64k count=64 2>/dev/null || true`);
      const large = configMap("shop", "large", { text: "x".repeat(900_000) });
      await scene.apply("east", large);
      await untilDegraded("west", "shop", /^JournalFull: .*no space left/);
      expect(await scene.find("west", large)).toBeUndefined();
      await inSite("rm", filler);
      await scene.until("the copy", "west", large, (copy) => copy !== undefined);
      await scene.untilStatus("healthy", "west", "shop", (status) => held(status, "Degraded") === "");
      await scene.remove("east", large);
      await scene.until("no copy", "west", large, (copy) => copy === undefined);
    });
    await expectSame(scene, ["shop"]);
  });
});

describe("a peer", () => {
  it("of another protocol version is named with what to do, and nothing travels", async () => {
    const copy = join(scene.bed.dir, "other-version");
    await cp(join(root, "src"), join(copy, "src"), { recursive: true });
    await cp(join(root, "proto"), join(copy, "proto"), { recursive: true });
    await cp(join(root, "package.json"), join(copy, "package.json"));
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    const limits = join(copy, "src/rpc/limits.ts");
    const text = await readFile(limits, "utf8");
    await writeFile(limits, text.replace("protocolVersion = 1;", "protocolVersion = 99;"));
    await scene.pair.stopMember("west");
    const argv = [process.execPath, join(copy, "src/main.ts"), "agent", "--config", scene.pair.configPath("west")];
    const other = scene.bed.site("west").spawn("agent", argv);
    try {
      await scene.apply("east", configMap("shop", "first", { a: "other version" }));
      await untilDegraded("west", "shop", /^PeerVersion: .*[Uu]pgrade/);
      expect(await other.log()).toContain("PeerVersion");
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("other version");
    } finally {
      await other.stop();
      await scene.pair.startAgent("west");
    }
    await expectSame(scene, ["shop"]);
  });

  it("with a certificate of another authority is not talked to, and the reason is told", async () => {
    const tls = (await writeCertificates(join(scene.bed.dir, "other-authority"), ["west"])).get("west");
    await withConfig("west", { tls }, async () => {
      await scene.apply("east", configMap("shop", "first", { a: "other authority" }));
      await untilDegraded("west", "shop", /^PeerCertificate: .*(certificate|authority)/);
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("other authority");
      await scene.untilStatus("peer missed", "east", "shop", ({ peer }) => peer?.reachable === false);
    });
    await expectSame(scene, ["shop"]);
  });
});

describe("the API server of the source", () => {
  const clusterRoles = resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false);
  const bindings = resource("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false);

  /** Everything but the Secrets. */
  async function grantAllButSecrets(user: string): Promise<void> {
    const read = async (path: string) =>
      JSON.parse(await scene.client("east").request("GET", path, { signal: scene.signal })) as Record<
        string,
        unknown[]
      >;
    const core = (await read("/api/v1"))["resources"] as { name: string }[];
    const apiGroups = ((await read("/apis"))["groups"] as { name: string }[]).map(({ name }) => name);
    const resources = core.map(({ name }) => name).filter((name) => name !== "secrets");
    const rules = [
      { apiGroups: [""], resources, verbs: ["*"] },
      { apiGroups, resources: ["*"], verbs: ["*"] },
      { nonResourceURLs: ["*"], verbs: ["get"] },
    ];
    await write("east", clusterRoles, { metadata: { name: user }, rules });
    await write("east", bindings, {
      metadata: { name: user },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: user },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
    });
  }

  it("that forbids one kind is told with the missing line of RBAC; what was copied stays and the rest goes on", async () => {
    const hidden = secret("shop", "hidden", secretValue);
    await scene.apply("east", hidden);
    await scene.until("the copy", "west", hidden, (found) => found !== undefined);
    await grantAllButSecrets("no-secrets");
    const config = parse(await readFile(scene.bed.site("east").kubeconfigPath, "utf8")) as {
      users: { user: Record<string, unknown> }[];
    };
    for (const entry of config.users) entry.user["as"] = "no-secrets";
    const kubeconfig = join(scene.bed.dir, "no-secrets.kubeconfig");
    await writeFile(kubeconfig, stringify(config), { mode: 0o600 });
    await withConfig("east", { kubeconfig }, async () => {
      const line = '{apiGroups: [""], resources: ["secrets"], verbs: ["get", "list", "watch"]}';
      const status = await untilDegraded("east", "shop", /^KindsForbidden: no permission to read Secret in shop/);
      expect(held(status, "Degraded")).toContain(line);
      expect(status.findings).toContainEqual(expect.objectContaining({ code: "KindForbidden", object: "Secret" }));
      const metrics = await scene.pair.metrics("east");
      expect(metrics.value("lifeboat_unfollowed_kinds", { group: "shop", cause: "forbidden" })).toBe(1);
      await scene.apply("east", configMap("shop", "first", { a: "no secrets" }));
      await scene.until("the copy", "west", configMap("shop", "first"), (copy) => dataOf(copy)["a"] === "no secrets");
      expect(await scene.find("west", hidden)).toBeDefined();
      const told = async () => (await events("east", "shop")).find((event) => event.startsWith("KindForbidden"));
      await waitFor("the event", told, { limitMs: patienceMs, signal: scene.signal });
    });
    await scene.untilStatus("healthy", "east", "shop", (status) => held(status, "Degraded") === "");
    await expectSame(scene, ["shop"]);
  });

  it("that was restored from a backup while no agent ran is not followed until a person accepts it", async () => {
    await scene.pair.stopMember("east");
    // Seen from the agent it is the same whether the API server fell back or the record is ahead of it.
    const records = StateFile.open({ path: join(scene.pair.dataDir("east"), "agent.db") });
    const versions = records.getState("agent/versions") as Record<string, string>;
    const ahead = Object.entries(versions).map(([id, version]) => [id, String(Number(version) + 1_000_000)]);
    expect(ahead.length).toBeGreaterThan(20);
    await records.putState("agent/versions", Object.fromEntries(ahead));
    records.close();
    await scene.apply("east", configMap("shop", "first", { a: "restored" }));
    await scene.pair.startAgent("east");
    const paused = await untilDegraded("east", "shop", /^KindsRewound: .*`lifeboat accept-rewind shop`/);
    expect(paused.conditions?.find(({ type }) => type === "Ready")).toMatchObject({
      status: "False",
      reason: "Paused",
    });
    await scene.pair.restartAgent("east");
    await untilDegraded("east", "shop", /^KindsRewound/);
    expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("restored");

    // The kinds are read one after the other: namespaces first.
    const accepted = await scene.lifeboat("east", "accept-rewind", "shop");
    expect(accepted).toMatchObject({ code: 0, out: expect.stringMatching(/kinds are replicated/) as string });
    expect((await scene.status("east", "shop")).lastRequest).toMatchObject({ verb: "accept-rewind", outcome: "Done" });
    await scene.until("the copy", "west", configMap("shop", "first"), (copy) => dataOf(copy)["a"] === "restored");
    await scene.untilStatus("healthy", "east", "shop", (status) => held(status, "Degraded") === "");
    const again = await scene.lifeboat("east", "accept-rewind", "shop");
    expect(again).toMatchObject({ code: 4, err: expect.stringContaining("nothing is paused") as string });
    expect((await scene.status("east", "shop")).lastRequest).toMatchObject({
      verb: "accept-rewind",
      outcome: "Refused",
    });
  });
});

describe("the standby's API server", () => {
  it("takes objects of 1.4 MB, 5,000 keys and names with dots", async () => {
    const group = "large.example.com";
    const things = resource(group, "v1", "Thing", "things", true);
    const keys = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`key-${at}`, "v"]));
    await scene.apply(
      "east",
      definition(group, "Thing", "things", ["v1"]),
      configMap("shop", "many.keys.with.dots", keys),
    );
    const text = "x".repeat(1_400_000);
    const make = () =>
      write("east", things, { metadata: { name: "a.large.one", namespace: "shop" }, text }).then(() => true);
    await waitFor("a large object", make, { limitMs: patienceMs, signal: scene.signal });
    await scene.until("5,000 keys", "west", configMap("shop", "many.keys.with.dots"), (copy) => {
      return Object.keys(dataOf(copy)).length === 5000;
    });
    const place = { namespace: "shop", name: "a.large.one" };
    const copy = () => scene.client("west").find(things, place, { signal: scene.signal });
    const found = await waitFor("1.4 MB", copy, { limitMs: patienceMs, signal: scene.signal });
    expect(found["text"]).toBe(text);
  });

  it("that serves a kind in another version gets it in one that both serve; without one that is told", async () => {
    const group = "versions.example.com";
    await scene.apply("west", definition(group, "Dual", "duals", ["v1beta1"]));
    await scene.apply("west", definition(group, "Alien", "aliens", ["v7"]));
    await scene.apply("east", definition(group, "Dual", "duals", ["v1", "v1beta1"]));
    await scene.apply("east", definition(group, "Alien", "aliens", ["v1"]));
    const write1 = (kind: string, plural: string) => async () => {
      const metadata = { name: "one", namespace: "shop" };
      await write("east", resource(group, "v1", kind, plural, true), { metadata, size: 1 });
      return true;
    };
    const limits = { limitMs: patienceMs, signal: scene.signal };
    await waitFor("a Dual", write1("Dual", "duals"), limits);
    await waitFor("an Alien", write1("Alien", "aliens"), limits);
    const duals = resource(group, "v1beta1", "Dual", "duals", true);
    const copy = () => scene.client("west").find(duals, { namespace: "shop", name: "one" }, { signal: scene.signal });
    expect((await waitFor("the copy", copy, limits))["size"]).toBe(1);
    const status = await untilDegraded("east", "shop", /^NoCommonVersion: no version of versions.example.com\/Alien/);
    expect(held(status, "Degraded")).toContain("here v1; west v7");
    await discard(
      "east",
      resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
      `aliens.${group}`,
    );
    await scene.untilStatus("healthy", "east", "shop", (now) => !held(now, "Degraded").includes("Alien"));
  });

  it("that refuses single objects is named with each, the others arrive, and these when it no longer does", async () => {
    const webhooks = resource(
      "admissionregistration.k8s.io",
      "v1",
      "ValidatingWebhookConfiguration",
      "validatingwebhookconfigurations",
      false,
    );
    const crds = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false);
    const group = "taken.example.com";
    await protect("gated");
    await scene.untilStatus("caught up", "west", "gated", isCaughtUp);
    // Its quota allows no more Secrets, its webhook does not answer, and the name of the kind is taken there.
    const quota: KubeObject = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "small", namespace: "gated" },
      spec: { hard: { "count/secrets": "0" } },
    };
    const other = definition(group, "Other", "others", ["v1"]);
    Object.assign((other["spec"] as { names: object }).names, { singular: "gadget" });
    await scene.apply("west", quota, other);
    await scene
      .client("west")
      .patch(
        resource("", "v1", "ResourceQuota", "resourcequotas", true),
        { namespace: "gated", name: "small" },
        { type: "merge", body: { status: { hard: { "count/secrets": "0" }, used: { "count/secrets": "0" } } } },
        { fieldManager: "user", subresource: "status", signal: scene.signal },
      );
    await write("west", webhooks, {
      metadata: { name: "nobody-answers" },
      webhooks: [
        {
          name: "nobody.example.com",
          clientConfig: { url: "https://127.0.0.1:1/" },
          rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["*"], resources: ["configmaps"] }],
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "gated" } },
          objectSelector: { matchLabels: { refused: "yes" } },
          sideEffects: "None",
          admissionReviewVersions: ["v1"],
          timeoutSeconds: 1,
        },
      ],
    });
    const refused = configMap("gated", "refused", { a: "1" });
    refused.metadata.labels = { refused: "yes" };
    const many = secret("gated", "too-many", secretValue);
    await scene.apply("east", definition(group, "Gadget", "gadgets", ["v1"]));
    const gadgets = resource(group, "v1", "Gadget", "gadgets", true);
    const gadget = () => write("east", gadgets, { metadata: { name: "one", namespace: "gated" } }).then(() => true);
    await waitFor("a gadget", gadget, { limitMs: patienceMs, signal: scene.signal });
    await scene.apply("east", refused, many, configMap("gated", "fine", { a: "1" }));

    await scene.until("the others", "west", configMap("gated", "fine"), (copy) => copy !== undefined);
    const wanted = ["/ConfigMap/gated/refused", "/Secret/gated/too-many", `${group}/Gadget/gated/one`];
    let found: unknown;
    const isNamed = ({ findings }: Partial<GroupStatus>): boolean => {
      found = findings;
      return wanted.every((key) => findings?.some(({ object }) => object === key));
    };
    const status = await scene.untilStatus("named", "west", "gated", isNamed).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(found)}`, { cause: error });
    });
    expect(held(status, "Degraded")).toMatch(/objects cannot be applied/);
    const codeOf = (key: string) => status.findings?.find(({ object }) => object === key)?.code;
    expect(codeOf("/ConfigMap/gated/refused")).toBe("WebhookFailed");
    expect(codeOf("/Secret/gated/too-many")).toBe("QuotaExceeded");

    await discard("west", webhooks, "nobody-answers");
    await discard("west", crds, `others.${group}`);
    await scene.remove("west", quota);
    await scene.until("the refused one", "west", refused, (copy) => copy !== undefined, 2 * patienceMs);
    await scene.until("the Secret", "west", many, (copy) => copy !== undefined, 2 * patienceMs);
    const copy = () =>
      scene.client("west").find(gadgets, { namespace: "gated", name: "one" }, { signal: scene.signal });
    await waitFor("the gadget", copy, { limitMs: 2 * patienceMs, signal: scene.signal });
  });

  it("gets an object anew whose immutable field has changed", async () => {
    const fixed = (value: string) => ({ ...configMap("shop", "fixed", { value }), immutable: true });
    await scene.apply("east", fixed("1"));
    await scene.until("the copy", "west", fixed("1"), (copy) => dataOf(copy)["value"] === "1");
    await scene.remove("east", fixed("1"));
    await scene.apply("east", fixed("2"));
    await scene.until("the copy made anew", "west", fixed("2"), (copy) => dataOf(copy)["value"] === "2");
  });
});

describe("an agent", () => {
  it("starts without a witness, says so, also to somebody who watches, and replicates", async () => {
    const argv = [
      join(root, "src/main.ts"),
      "status",
      "shop",
      "-w",
      "--kubeconfig",
      scene.bed.site("east").kubeconfigPath,
    ];
    const watching = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "ignore"] });
    const ended = once(watching, "close");
    let shown = "";
    watching.stdout.on("data", (chunk: Buffer) => (shown += chunk.toString()));
    const untilShown = (pattern: RegExp) =>
      waitFor(String(pattern), async () => pattern.test(shown) || undefined, {
        limitMs: patienceMs,
        signal: scene.signal,
      });
    await untilShown(/^Witness: +reachable$/m);
    await scene.pair.stopMember("witness");
    await scene.pair.restartAgent("east");
    await scene.apply("east", configMap("shop", "first", { a: "5" }));
    await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === "5");
    await scene.untilStatus("witness missed", "east", "shop", ({ witness }) => witness?.reachable === false);
    await untilShown(/^Witness: +not reachable, last seen /m);
    expect(shown).not.toContain("\u001b");
    watching.kill("SIGINT");
    expect(await ended).toEqual([0, null]);
    await scene.pair.startWitness();
  });

  it("ends with what is wrong where its kubeconfig is missing or expired, and waits where it is not trusted", async () => {
    const path = join(scene.bed.dir, "bad-agent.yaml");
    const config = parse(await readFile(scene.pair.configPath("west"), "utf8")) as object;
    const host = scene.bed.site("west").agentAddress;
    const own = { listen: `${host}:17443`, metrics: `${host}:19440`, dataDir: join(scene.bed.dir, "bad-agent") };
    const startWith = async (kubeconfig: string) => {
      await writeFile(path, stringify({ ...config, ...own, kubeconfig }));
      return scene.bed
        .site("west")
        .spawn("bad-agent", [process.execPath, join(root, "src/main.ts"), "agent", "--config", path]);
    };
    const site = scene.bed.site("west");
    const missing = await startWith("/nowhere/kubeconfig");
    expect((await missing.exited).code).toBe(1);
    let before = (await missing.log()).length;
    expect(await missing.log()).toMatch(/\/nowhere\/kubeconfig[^]*KubeconfigInvalid/);
    // Somebody may renew these while it waits.
    for (const [flaw, said] of [
      [{ expired: true }, /KubeconfigInvalid[^]*expired on/],
      [{ wrongCa: true }, /KubeconfigInvalid/],
    ] as const) {
      const waiting = await startWith(await site.kubeconfigFor({ user: "old", ...flaw }));
      const says = async () => said.test((await waiting.log()).slice(before)) || undefined;
      await waitFor("its complaint", says, { limitMs: patienceMs, signal: scene.signal });
      expect(waiting.hasExited).toBe(false);
      await waiting.stop();
      before = (await waiting.log()).length;
    }
  });

  it("that is ended in the middle of a first sync goes on with it", async () => {
    await scene.apply("east", namespace("large"));
    const many = Array.from({ length: 400 }, (_, at) => configMap("large", `item-${at}`, { text: "x".repeat(2000) }));
    await Promise.all(many.map((object) => scene.apply("east", object)));
    await scene.pair.applyGroup("east", "large", groupSpec(["large"]), scene.signal);
    await scene.until("a part", "west", many[0] ?? namespace(""), (found) => found !== undefined);
    await scene.pair.stopMember("west");
    await delay(500);
    await scene.pair.startAgent("west");
    await expectSame(scene, ["large"]);
  });
});

describe("after all that", () => {
  /** Series that there are only after what this scene does not do; each with the reason. */
  const without: Readonly<Record<string, string>> = {
    lifeboat_rpo_ratio: "the groups here have no objective",
  };
  /** What must have been counted, and not merely be there. */
  const counted = [
    "lifeboat_stream_sent_bytes_total",
    "lifeboat_stream_received_bytes_total",
    "lifeboat_stream_resyncs_total",
    "lifeboat_reconnects_total",
    "lifeboat_failovers_total",
    "lifeboat_journal_lag_seconds_count",
    "lifeboat_apply_lag_seconds_count",
    "lifeboat_failover_phase_seconds_count",
    "lifeboat_objects",
    "lifeboat_epoch_counter",
    "lifeboat_peer_connected",
    "lifeboat_lease_remaining_seconds",
  ];

  it("every metric that is declared has a sample, and those that count have counted", async () => {
    await scene.pair.restartAgent("east");
    const isReady = (status: Partial<GroupStatus>) => hasCondition(status, "Ready") && status.peer?.reachable === true;
    await scene.untilStatus("ready", "west", "shop", isReady);
    const moved = await scene.lifeboat("east", "failover", "shop", "--to", "west", "--wait");
    expect(moved).toMatchObject({ code: 0 });
    await scene.untilStatus("following", "east", "shop", ({ role }) => role === "standby");
    const missing = async (): Promise<true | undefined> => {
      const both = [await scene.pair.metrics("east"), await scene.pair.metrics("west")];
      const samples = both.flatMap((each) => each.samples);
      const names = new Set(samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
      const absent = Object.keys(metricTable).filter((name) => !names.has(name) && without[name] === undefined);
      const zero = counted.filter((name) => !samples.some((sample) => sample.name === name && sample.value > 0));
      if (absent.length + zero.length > 0) throw new Error(`absent: ${absent.join()}; zero: ${zero.join()}`);
      return true;
    };
    await waitFor("all metrics", missing, { limitMs: patienceMs, signal: scene.signal });
  });

  it("every metric of the witness has one, but those that count what did not happen", async () => {
    const declared = new Registry();
    createWitnessMetrics(declared);
    const { samples } = await scene.pair.metrics("witness");
    const names = new Set(samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
    const absent = declared.getMetricsAsArray().flatMap(({ name }) => (names.has(name) ? [] : [name]));
    // Their labels are the rule that refused and the reason for which a message was not looked at.
    const quiet = ["lifeboat_witness_refusals_total", "lifeboat_witness_dropped_total"];
    expect(absent.filter((name) => !quiet.includes(name))).toEqual([]);
  });

  it("each condition that came to hold or ceased to was told as an event", async () => {
    const told = await events("west", "shop");
    expect(told).toContainEqual(expect.stringMatching(/^Degraded(?!Healthy)\w+: /));
    expect(told).toContainEqual(expect.stringMatching(/^DegradedHealthy: /));
    expect(told).toContainEqual(expect.stringMatching(/^ReadyNotReady: /));
    expect(told).toContainEqual(expect.stringMatching(/^ReadyReady: /));
  });

  it("no value of a Secret is in any log, at the level trace", async () => {
    const values = [secretValue, Buffer.from(secretValue).toString("base64")];
    for (const member of ["east", "west", "witness"]) {
      const log = await scene.log(member);
      expect(log, member).toContain('"level":"');
      for (const value of values) expect(log.includes(value), member).toBe(false);
    }
  });
});
