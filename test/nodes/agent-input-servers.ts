import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { GroupStatus } from "../../src/config/group.ts";
import { StateFile } from "../../src/journal/state.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { definitionOf } from "../definition.ts";
import { waitFor } from "../pair/wait.ts";
import { configMap, dataOf, expectSame, isCaughtUp, patienceMs, type Scene, secret } from "./agent-harness.ts";
import {
  discard,
  events,
  held,
  protect,
  resource,
  secretValue,
  untilDegraded,
  withConfig,
  write,
} from "./agent-input-tools.ts";

let scene: Scene;

/** What may be wrong with the API servers of both sites; declared by the file that has a scene up already. */
export function describeApiServers(given: () => Scene): void {
  beforeAll(() => {
    scene = given();
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
      await write(scene, "east", clusterRoles, { metadata: { name: user }, rules });
      await write(scene, "east", bindings, {
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
      await withConfig(scene, "east", { kubeconfig }, async () => {
        const line = '{apiGroups: [""], resources: ["secrets"], verbs: ["get", "list", "watch"]}';
        const status = await untilDegraded(
          scene,
          "east",
          "shop",
          /^KindsForbidden: no permission to read Secret in shop/,
        );
        expect(held(status, "Degraded")).toContain(line);
        expect(status.findings).toContainEqual(expect.objectContaining({ code: "KindForbidden", object: "Secret" }));
        const metrics = await scene.pair.metrics("east");
        expect(metrics.value("lifeboat_unfollowed_kinds", { group: "shop", cause: "forbidden" })).toBe(1);
        await scene.apply("east", configMap("shop", "first", { a: "no secrets" }));
        await scene.until("the copy", "west", configMap("shop", "first"), (copy) => dataOf(copy)["a"] === "no secrets");
        expect(await scene.find("west", hidden)).toBeDefined();
        const told = async () =>
          (await events(scene, "east", "shop")).find((event) => event.startsWith("KindForbidden"));
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
      const paused = await untilDegraded(scene, "east", "shop", /^KindsRewound: .*`lifeboat accept-rewind shop`/);
      expect(paused.conditions?.find(({ type }) => type === "Ready")).toMatchObject({
        status: "False",
        reason: "Paused",
      });
      await scene.pair.restartAgent("east");
      await untilDegraded(scene, "east", "shop", /^KindsRewound/);
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("restored");

      // The kinds are read one after the other: namespaces first.
      const accepted = await scene.lifeboat("east", "accept-rewind", "shop");
      expect(accepted).toMatchObject({ code: 0, out: expect.stringMatching(/kinds are replicated/) as string });
      expect((await scene.status("east", "shop")).lastRequest).toMatchObject({
        verb: "accept-rewind",
        outcome: "Done",
      });
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
        definitionOf({ group, kind: "Thing", plural: "things" }),
        configMap("shop", "many.keys.with.dots", keys),
      );
      const text = "x".repeat(1_400_000);
      const make = () =>
        write(scene, "east", things, { metadata: { name: "a.large.one", namespace: "shop" }, text }).then(() => true);
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
      await scene.apply("west", definitionOf({ group, kind: "Dual", plural: "duals", versions: ["v1beta1"] }));
      await scene.apply("west", definitionOf({ group, kind: "Alien", plural: "aliens", versions: ["v7"] }));
      await scene.apply("east", definitionOf({ group, kind: "Dual", plural: "duals", versions: ["v1", "v1beta1"] }));
      await scene.apply("east", definitionOf({ group, kind: "Alien", plural: "aliens" }));
      const write1 = (kind: string, plural: string) => async () => {
        const metadata = { name: "one", namespace: "shop" };
        await write(scene, "east", resource(group, "v1", kind, plural, true), { metadata, size: 1 });
        return true;
      };
      const limits = { limitMs: patienceMs, signal: scene.signal };
      await waitFor("a Dual", write1("Dual", "duals"), limits);
      await waitFor("an Alien", write1("Alien", "aliens"), limits);
      const duals = resource(group, "v1beta1", "Dual", "duals", true);
      const copy = () => scene.client("west").find(duals, { namespace: "shop", name: "one" }, { signal: scene.signal });
      expect((await waitFor("the copy", copy, limits))["size"]).toBe(1);
      const status = await untilDegraded(
        scene,
        "east",
        "shop",
        /^NoCommonVersion: no version of versions.example.com\/Alien/,
      );
      expect(held(status, "Degraded")).toContain("here v1; west v7");
      await discard(
        scene,
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
      const crds = resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
      );
      const group = "taken.example.com";
      await protect(scene, "gated");
      await scene.untilStatus("caught up", "west", "gated", isCaughtUp);
      // Its quota allows no more Secrets, its webhook does not answer, and the name of the kind is taken there.
      const quota: KubeObject = {
        apiVersion: "v1",
        kind: "ResourceQuota",
        metadata: { name: "small", namespace: "gated" },
        spec: { hard: { "count/secrets": "0" } },
      };
      const other = definitionOf({ group, kind: "Other", plural: "others" });
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
      await write(scene, "west", webhooks, {
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
      const limits = { limitMs: patienceMs, signal: scene.signal };
      await scene.pair.waitRefused("west", refused, "nobody.example.com", limits);
      await scene.pair.waitRefused("west", many, "exceeded quota", limits);
      await scene.apply("east", definitionOf({ group, kind: "Gadget", plural: "gadgets" }));
      const gadgets = resource(group, "v1", "Gadget", "gadgets", true);
      const gadget = () =>
        write(scene, "east", gadgets, { metadata: { name: "one", namespace: "gated" } }).then(() => true);
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

      await discard(scene, "west", webhooks, "nobody-answers");
      await discard(scene, "west", crds, `others.${group}`);
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
}
