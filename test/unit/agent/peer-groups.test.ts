import { expect, test, vi } from "vitest";
import { Pulse } from "../../../src/abort.ts";
import { followPeerGroups } from "../../../src/agent/peer-groups.ts";
import { type PeerSays, ServedGroups } from "../../../src/agent/served-groups.ts";
import { systemClock } from "../../../src/clock.ts";
import type { Discovery } from "../../../src/kube/discovery.ts";
import { resources } from "../../../src/kube/resource.ts";
import type { Link } from "../../../src/rpc/link.ts";
import { replicationService } from "../../../src/rpc/replication.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { anySite, createPair, dial, serve, site } from "../rpc/pair.ts";

/** Two sites over real gRPC; of the asking one's link and discovery there is only what the list of groups needs. */

const waitMs = { timeout: 10_000, interval: 10 };
const configMap = { ...resources.configMaps, verbs: new Set(["get", "list", "watch"]) };
const discovery = {
  kinds: () => [{ group: "", kind: "ConfigMap", versions: [configMap] }],
  refresh: async () => undefined,
  onChange: () => ({ [Symbol.dispose]: () => undefined }),
} as unknown as Discovery;

test("a site says anew which groups it keeps when that changes, also after its list has broken off", async () => {
  const pair = await createPair();
  const [east, west] = [await pair.certificatesFor(site("east")), await pair.certificatesFor(site("west"))];
  const heard: (readonly string[])[] = [];
  const onPeerAsks = (_site: string, { kept }: PeerSays) => kept !== undefined && heard.push(kept);
  const served = new ServedGroups({ site: "east", clock: systemClock, onPeerAsks });
  const stopping = new AbortController();
  const { signal } = stopping;
  const broken: (() => void)[] = [];
  const groups: typeof served.groups = (peer, request, options) => {
    const cut = new AbortController();
    broken.push(() => cut.abort(new Error("the list breaks off")));
    return served.groups(peer, request, { signal: AbortSignal.any([options.signal, cut.signal]) });
  };
  await using server = await serve(east, [replicationService(anySite, { groups, pull: async () => undefined })]);
  using connection = await dial(west, server.port);
  const link = { ready: async () => connection } as unknown as Link;
  let names: string[] | undefined;
  const keeping = { names: () => names, changed: new Pulse() };
  const options = { link, peer: "east", site: "west", discovery, clock: systemClock, log: silentLog, signal, keeping };
  const following = followPeerGroups({ ...options, onUpdate: () => undefined }).catch(() => undefined);
  try {
    // Nothing is said of what is not known.
    await vi.waitFor(() => expect(broken).toHaveLength(1), waitMs);
    expect(heard).toEqual([]);
    broken[0]?.();
    await vi.waitFor(() => expect(broken).toHaveLength(2), waitMs);
    names = ["shop"];
    keeping.changed.raise();
    await vi.waitFor(() => expect(heard).toEqual([["shop"]]), waitMs);
    names = [];
    keeping.changed.raise();
    await vi.waitFor(() => expect(heard).toEqual([["shop"], []]), waitMs);
  } finally {
    stopping.abort(new Error("the test is over"));
    await following;
  }
});
