import { expect, test } from "vitest";
import { PeerVersions } from "../../src/agent/peer-versions.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { keyOf } from "../../src/objects/key.ts";
import { definitionOf } from "../definition.ts";
import { eventually, makeNamespace, selecting, startSource, useSource } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** Which versions are read: of kinds, what the other site serves too; of the API server, none that was seen before. */

const east = useSource();

test("a kind is read in the version that the peer serves too, and anew when the peer serves another", async () => {
  const ns = east.fresh();
  const [group, kind] = ["versions.example.com", `Dual${process.pid}`];
  const crd = definitionOf({ group, kind, plural: `duals${process.pid}`, versions: ["v1", "v1beta1"] });
  await makeNamespace(east.writer, ns);
  await east.writer.apply(crd);
  await east.writer.served(group, kind);
  const object: KubeObject = { apiVersion: `${group}/v1`, kind, metadata: { name: "one", namespace: ns }, size: 1 };
  await eventually(async () => east.writer.apply(object));
  const peers = new PeerVersions();
  const source = await startSource(kubeconfigs().east, { chooseVersion: (each) => peers.choose(each) });
  const learn = (...versions: string[]) => {
    const isNew = peers.learn("west", versions.length === 0 ? [] : [{ group, kind, versions }]);
    if (isNew) source.pool.reconsider();
    return isNew;
  };
  try {
    const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    const version = () => follower.held.get(keyOf(object))?.apiVersion;
    await eventually(() => expect(version()).toBe(`${group}/v1`));
    expect(learn("v1beta1")).toBe(true);
    await eventually(() => expect(version()).toBe(`${group}/v1beta1`));
    expect(peers.uncommon().size).toBe(0);
    expect(learn("v1beta1")).toBe(false);
    learn("v2");
    await eventually(() => expect(version()).toBe(`${group}/v1`));
    expect(peers.uncommon().get(`${group}/${kind}`)).toMatch(/here v1, v1beta1; west v2/);
    learn();
    expect(peers.uncommon().size).toBe(0);
    expect(follower.records.filter(({ object: text }) => text === undefined)).toEqual([]);
  } finally {
    await source.stop();
    await east.writer.delete(crd);
  }
});

test("an API server that is behind what an earlier process saw is not followed until somebody accepts it", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  await eventually(() => expect(east.source.pool.versions().get("/Namespace/")).toMatch(/^\d+$/));
  const seen = east.source.pool.versions();
  const ahead = new Map([...seen].map(([id, version]) => [id, String(Number(version) + 1_000_000)]));

  const source = await startSource(kubeconfigs().east, { versions: ahead });
  const troubles = () => source.pool.states().flatMap(({ trouble, kind }) => (trouble === undefined ? [] : [kind]));
  try {
    const follower = source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    await eventually(() => expect(troubles()).toEqual(["Namespace"]));
    expect(source.pool.versions()).toEqual(ahead);
    expect(follower.capture.isKnown(keyOf(space))).toBe(false);
    // Once for all, though the other kinds are not read yet.
    expect(source.pool.acceptRewind()).toBe(1);
    await eventually(() => expect(follower.held.has(keyOf(space))).toBe(true));
    await follower.capture.whenSynced({ signal: source.signal });
    expect(troubles()).toEqual([]);
    expect(Number(source.pool.versions().get("/Namespace/"))).toBeLessThan(Number(ahead.get("/Namespace/")));
  } finally {
    await source.stop();
  }

  // As for a group that has to be taken down: whatever the API server holds is right.
  const taking = await startSource(kubeconfigs().east, { versions: ahead });
  try {
    using _accepting = taking.pool.acceptingRewinds();
    await taking.pool.whenSynced({ signal: AbortSignal.timeout(30_000) });
  } finally {
    await taking.stop();
  }

  const same = await startSource(kubeconfigs().east, { versions: seen });
  try {
    await same.pool.whenSynced({ signal: AbortSignal.timeout(30_000) });
  } finally {
    await same.stop();
  }
});
