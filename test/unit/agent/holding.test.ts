import { expect, test } from "vitest";
import { Holding } from "../../../src/agent/holding.ts";
import type { PoolSubscriber } from "../../../src/capture/pool.ts";
import type { KubeResource } from "../../../src/kube/resource.ts";
import type { KubeObject } from "../../../src/objects/object.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../failover-runner/manual-clock.ts";

const resource = {} as KubeResource;

function web(namespace: string, generation: number): KubeObject {
  const metadata = { namespace, name: "web", uid: `${namespace}/web`, generation };
  return { apiVersion: "apps/v1", kind: "Deployment", metadata };
}

function scene() {
  const clock = new ManualClock();
  let subscriber: PoolSubscriber | undefined;
  const pool = {
    subscribe: (added: PoolSubscriber) => {
      subscriber = added;
      return { [Symbol.dispose]: () => (subscriber = undefined) };
    },
  };
  const { signal } = new AbortController();
  const namespaces = () => ["shop"];
  const holding = new Holding({ pool, namespaces, clock, random: () => 0.5, log: silentLog, signal });
  const tell = (object: KubeObject) => subscriber?.upsert(resource, object);
  let holds = 0;
  const hold = async () => void holds++;
  return { clock, holding, tell, hold, isSubscribed: () => subscriber !== undefined, holds: () => holds };
}

test("a group that is down is held again every five seconds, until that is to stop", async () => {
  const { clock, holding, hold, holds, isSubscribed } = scene();
  holding.start(hold);
  await clock.advance(4900);
  expect(holds()).toBe(0);
  await clock.advance(200);
  expect(holds()).toBe(1);
  await clock.advance(5100);
  expect(holds()).toBe(2);
  await holding.stop();
  await clock.advance(20_000);
  expect(holds()).toBe(2);
  expect(isSubscribed()).toBe(false);
});

test("what somebody writes in its namespaces is answered within a second, its own writes only once", async () => {
  const { clock, holding, hold, holds, tell } = scene();
  holding.start(hold);
  await clock.advance(1100);
  tell(web("elsewhere", 2));
  await clock.advance(500);
  expect(holds()).toBe(0);
  tell(web("shop", 2));
  await clock.advance(10);
  expect(holds()).toBe(1);
  tell(web("shop", 2));
  await clock.advance(1500);
  expect(holds(), "the same state again").toBe(1);
  tell(web("shop", 3));
  await clock.advance(10);
  expect(holds()).toBe(2);
  await holding.stop();
});
