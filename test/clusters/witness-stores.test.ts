import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import type { WitnessTerm } from "../../src/failover/witness-state.ts";
import { EtcdRegister } from "../../src/witness/etcd-register.ts";
import { LeaseRegister } from "../../src/witness/lease-register.ts";
import { RegisterStore, type Register } from "../../src/witness/register.ts";
import { slackMs, timing, Trio } from "../unit/failover-runner/trio.ts";
import { eventually } from "../unit/rpc/pair.ts";
import { describeStore, groupRecord } from "../unit/witness/store-contract.ts";
import { kubeconfigs } from "./sites.ts";
import { startEtcd, type EtcdCluster } from "./witness-etcd.ts";

const signal = new AbortController().signal;
const options = { signal };

function storeIn(register: Register): RegisterStore {
  return new RegisterStore({ register, clock: systemClock, random: Math.random, log: silentLog });
}

let etcd: EtcdCluster;
let client: KubeClient;
beforeAll(async () => {
  etcd = await startEtcd();
  client = await connect({ from: "files", paths: [kubeconfigs().west] });
});
afterAll(async () => {
  await client.close();
  await etcd[Symbol.asyncDispose]();
});

const etcdStore = (key: string) => storeIn(new EtcdRegister({ endpoints: etcd.endpoints, key }));

describeStore("etcd", async () => {
  const key = `lifeboat/${randomUUID()}`;
  return { open: async () => etcdStore(key), [Symbol.asyncDispose]: async () => {} };
});

describeStore("a Lease object", async () => {
  const name = `witness-${randomUUID()}`;
  return {
    open: async () => storeIn(new LeaseRegister({ client, namespace: "default", name })),
    [Symbol.asyncDispose]: async () => {
      await client.delete(resources.leases, { namespace: "default", name }, options);
    },
  };
});

describe("a register", () => {
  it("takes the records of 2,000 groups, in etcd and in a Lease", async () => {
    const name = `witness-${randomUUID()}`;
    const registers = [
      new EtcdRegister({ endpoints: etcd.endpoints, key: `lifeboat/${randomUUID()}` }),
      new LeaseRegister({ client, namespace: "default", name }),
    ];
    const records = Array.from({ length: 2000 }, (_, index) => groupRecord(`group-${randomUUID()}`, index));
    for (const register of registers) {
      const store = storeIn(register);
      const term = { generation: 1, nonce: "a" };
      await store.claim(null, term, options);
      await store.commit(term, records, options);
      const again = storeIn(register);
      await again.readTerm(options);
      expect(await again.readGroups()).toHaveLength(2000);
      await store.close();
    }
    await client.delete(resources.leases, { namespace: "default", name }, options);
  });

  it("loses no acknowledged write and refuses none for good while etcd's leader is killed again and again", async () => {
    const key = `lifeboat/${randomUUID()}`;
    const store = etcdStore(key);
    const term = { generation: 1, nonce: "a" };
    await store.claim(null, term, options);
    let written = 0;
    const done = new AbortController();
    const writing = (async () => {
      while (!done.signal.aborted) {
        await store.commit(term, [groupRecord("shop", written + 1)], options);
        written++;
        const reader = etcdStore(key);
        await reader.readTerm(options);
        const [found] = await reader.readGroups();
        expect(found?.cert?.epoch.counter).toBe(written);
        await reader.close();
      }
    })();
    for (let round = 0; round < 3; round++) {
      const before = written;
      const killed = await etcd.killLeader();
      await eventually(() => written > before + 3, 20_000);
      await etcd.restart(killed);
    }
    done.abort();
    await writing;
    await store.close();
  }, 90_000);

  it("lets one of two processes that write at once own it, however they interleave", async () => {
    const key = `lifeboat/${randomUUID()}`;
    const processes = 4;
    const acknowledged: { generation: number; counter: number }[] = [];
    await Promise.all(
      Array.from({ length: processes }, async (_, index) => {
        const store = etcdStore(key);
        await systemClock.sleep(index * 150, options);
        // Whoever is slow claims after those that are not, as the next in their order.
        const claim = async (): Promise<WitnessTerm | undefined> => {
          const stored = await store.readTerm(options);
          const next = { generation: (stored?.generation ?? 0) + 1, nonce: `n${index}` };
          return store.claim(stored, next, options).then(
            () => next,
            () => undefined,
          );
        };
        let term: WitnessTerm | undefined;
        while (term === undefined) term = await claim();
        for (let counter = 1; ; counter++) {
          try {
            await store.commit(term, [groupRecord(`group-${term.generation}`, counter)], options);
          } catch (error) {
            expect(error).toMatchObject({ code: "WitnessReplaced" });
            break;
          }
          acknowledged.push({ generation: term.generation, counter });
          if (term.generation === processes && counter === 20) break;
        }
        await store.close();
      }),
    );
    const generations = acknowledged.map(({ generation }) => generation);
    expect(generations).toEqual(generations.toSorted((a, b) => a - b));
    const reader = etcdStore(key);
    await reader.readTerm(options);
    const stored = new Map((await reader.readGroups()).map(({ group, cert }) => [group, cert?.epoch.counter]));
    for (const { generation, counter } of acknowledged) {
      expect(stored.get(`group-${generation}`)).toBeGreaterThanOrEqual(counter);
    }
    await reader.close();
  }, 120_000);

  it("that cannot be reached is waited for, and given up when the process ends", async () => {
    const store = storeIn(new EtcdRegister({ endpoints: ["http://127.0.0.1:1"], key: "k" }));
    const life = new AbortController();
    const reading = store.readTerm({ signal: life.signal });
    life.abort(new Error("SIGTERM"));
    await expect(reading).rejects.toThrow("SIGTERM");
    await store.close();
  });
});

describe("a witness on etcd", () => {
  it("goes on through the death of etcd's leader, and fails over while a member is missing", async () => {
    await using trio = await Trio.prepare();
    trio.sites.east.running = true;
    await trio.startWitness({ environment: { store: etcdStore(`lifeboat/${randomUUID()}`) } });
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    await trio.untilArmed("east");
    const killed = await etcd.killLeader();
    await trio.untilPromisedAnew("east");
    expect(trio.sites.east.asked).toEqual(["start adopt"]);
    await trio.killSite("east");
    await eventually(() => trio.sites.west.running, timing.startBoundMs + slackMs);
    await etcd.restart(killed);
  }, 60_000);
});
