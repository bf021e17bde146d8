import { expect, test } from "vitest";
import { canonicalJson } from "../../../src/objects/json.ts";
import { keyOf } from "../../../src/objects/key.ts";
import { marks, type KubeObject } from "../../../src/objects/object.ts";
import { hashOf } from "../../../src/objects/record.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { areSame, compareSite, type Comparison } from "../../demo/verdict.ts";
import { scratchFolder } from "../journal/helpers.ts";
import { SmallServer } from "./small-server.ts";

const { signal } = new AbortController();
const group = "demo";

const namespace: KubeObject = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };
const spec: KubeObject = {
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: group },
  spec: { sites: [{ name: "east" }, { name: "west" }], select: { namespaces: { names: ["shop"] } } },
};

function configMap(name: string, data: Record<string, string>): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "shop" }, data };
}

/** As Lifeboat marks what it puts at a standby. */
function copyOf(object: KubeObject): KubeObject {
  const metadata = { ...object.metadata, labels: { [marks.group]: group }, annotations: { [marks.source]: "east" } };
  return { ...object, metadata };
}

/** Compares a site that has `live` with a journal of a namespace and two ConfigMaps. */
async function compared(live: readonly KubeObject[]): Promise<Comparison> {
  using folder = scratchFolder();
  await using west = await SmallServer.start();
  west.put(copyOf(namespace), ...live);
  const journal = Journal.open({ path: folder.path("journal.db"), group });
  try {
    const objects = [spec, namespace, configMap("prices", { tea: "3" }), configMap("stock", { tea: "120" })];
    const records = objects.map((object, at) => {
      const text = canonicalJson(object);
      return { seq: at + 1, key: keyOf(object), hash: hashOf(text, "[]"), object: text, managers: "[]" };
    });
    const position = { ring: "r1", seq: objects.length };
    await journal.commit({ epoch: "10.1", position, complete: true, records }, { signal });
    return await compareSite(journal, { client: west.client, site: "west", role: "active", signal });
  } finally {
    journal.close();
  }
}

const prices = copyOf(configMap("prices", { tea: "3" }));
const stock = copyOf(configMap("stock", { tea: "120" }));

test("a site that has all of the journal is the same", async () => {
  const found = await compared([prices, stock]);
  expect(found).toMatchObject({ compared: 3, different: [] });
  expect(areSame(found)).toBe(true);
});

test("a missing object is a difference", async () => {
  const found = await compared([prices]);
  expect(found.different).toEqual([{ object: "/ConfigMap/shop/stock", reason: "is not there" }]);
  expect(areSame(found)).toBe(false);
});

test("a changed object is a difference, which names the field", async () => {
  const found = await compared([prices, copyOf(configMap("stock", { tea: "119" }))]);
  expect(found.different).toEqual([{ object: "/ConfigMap/shop/stock", reason: "differs at data.tea" }]);
  expect(areSame(found)).toBe(false);
});

test("a copy that the journal knows nothing of is a difference", async () => {
  const found = await compared([prices, stock, copyOf(configMap("sold", {}))]);
  const reason = "is there, and the journal knows nothing of it";
  expect(found.different).toEqual([{ object: "/ConfigMap/shop/sold", reason }]);
  expect(areSame(found)).toBe(false);
});

test("what others have made at the site is none", async () => {
  const { metadata, ...rest } = configMap("by-a-controller", {});
  // A controller that gives the label of what it works for to what it makes.
  const labelled = { ...rest, metadata: { ...metadata, labels: { [marks.group]: group } } } as KubeObject;
  expect(areSame(await compared([prices, stock, labelled, configMap("by-hand", {})]))).toBe(true);
});

test("a journal without the application proves nothing", () => {
  expect(areSame({ compared: 0, different: [], withheld: [] })).toBe(false);
});
