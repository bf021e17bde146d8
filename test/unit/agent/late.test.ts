import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type LateObject, LateObjects, startShortfalls } from "../../../src/agent/late.ts";
import { type Origin, writeOrigin } from "../../../src/agent/origin.ts";
import { Journal } from "../../../src/journal/journal.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../../src/objects/object.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../failover-runner/manual-clock.ts";

/** What a promotion has left behind is known for as long as it is so, and no longer. */

const web = "apps/Deployment/shop/web";
const late: LateObject = { key: web, what: "NotReady", why: "0 of 3 updated" };

function deployment(available: number, manager = "kubectl"): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { namespace: "shop", name: "web", generation: 1, managedFields: [managedBy(manager)] },
    spec: { replicas: 3 },
    status: { observedGeneration: 1, updatedReplicas: 3, availableReplicas: available },
  };
}

function managedBy(manager: string): ManagedFieldsEntry {
  return { manager, operation: "Apply", apiVersion: "apps/v1" };
}

class Site implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "lifeboat-late-"));
  readonly clock = new ManualClock();
  readonly journal = Journal.open({ path: join(this.#folder, "g.db"), group: "g" });
  readonly #stopping = new AbortController();
  live: KubeObject | "unknown" | "down" | undefined = deployment(0);
  changes = 0;
  looks = 0;
  late: LateObjects | undefined;

  async opens(origin: Origin = "own"): Promise<LateObjects> {
    await writeOrigin(this.journal, origin);
    this.late = new LateObjects({
      journal: this.journal,
      find: async () => {
        this.looks++;
        if (this.live === "down") throw new Error("the API server does not answer");
        return this.live;
      },
      onChange: () => void this.changes++,
      clock: this.clock,
      random: () => 0.5,
      log: silentLog,
      signal: this.#stopping.signal,
    });
    return this.late;
  }

  [Symbol.dispose](): void {
    this.#stopping.abort(new Error("the test is over"));
    this.journal.close();
    rmSync(this.#folder, { recursive: true });
  }
}

describe("an object that was not ready in time", () => {
  it("stays with its latest reason until it is ready, and is looked at no more then", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace([late]);
    expect(found.entries).toEqual([late]);
    site.live = deployment(2);
    await site.clock.advance(20_000);
    expect(found.entries).toEqual([{ ...late, why: "2 of 3 ready" }]);
    site.live = deployment(3);
    await site.clock.advance(20_000);
    expect(found.entries).toEqual([]);
    expect(site.changes).toBe(3);
    const { looks } = site;
    await site.clock.advance(120_000);
    expect(site.looks).toBe(looks);
  });

  it("goes when it is deleted", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace([late]);
    site.live = undefined;
    await site.clock.advance(20_000);
    expect(found.entries).toEqual([]);
  });

  it("stays while nothing can be known of it", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace([late]);
    site.live = "down";
    await site.clock.advance(60_000);
    site.live = "unknown";
    await site.clock.advance(60_000);
    expect(found.entries).toEqual([late]);
    expect(site.looks).toBeGreaterThan(4);
  });

  it("is known to the next process too, but not at a site that does not run the group", async () => {
    using site = new Site();
    (await site.opens()).replace([late]);
    await site.late?.stop();
    const again = await site.opens("own");
    expect(again.entries).toEqual([late]);
    await again.stop();
    expect((await site.opens("held")).entries).toEqual([]);
    expect((await site.opens("own")).entries).toEqual([]);
  });

  it("that got ready is forgotten durably", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace([late]);
    site.live = deployment(3);
    await site.clock.advance(20_000);
    await found.stop();
    expect((await site.opens("own")).entries).toEqual([]);
  });

  it("goes with the next start or stop", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace([late]);
    found.replace([]);
    expect(found.entries).toEqual([]);
    await site.clock.advance(60_000);
    expect(site.looks).toBe(0);
  });

  it("is one of many: each has its turn", async () => {
    using site = new Site();
    const found = await site.opens();
    found.replace(Array.from({ length: 120 }, (_, at) => ({ ...late, key: `${web}-${at}` })));
    site.live = deployment(3);
    await site.clock.advance(120_000);
    expect(found.entries).toEqual([]);
  });
});

it("an object whose fields stayed Lifeboat's goes when they are its owners' again", async () => {
  using site = new Site();
  const found = await site.opens();
  const owners: LateObject = { key: web, what: "OwnersNotRestored", why: "it was changed at the same moment" };
  found.replace([owners]);
  site.live = deployment(0, "lifeboat-g");
  await site.clock.advance(60_000);
  expect(found.entries).toEqual([owners]);
  site.live = deployment(0);
  await site.clock.advance(20_000);
  expect(found.entries).toEqual([]);
});

it("a start says what it left behind, and names some of it", () => {
  expect(startShortfalls(0, [])).toEqual([]);
  const many = Array.from({ length: 5 }, (_, at) => ({ ...late, key: `${web}-${at}` }));
  expect(startShortfalls(2, many)).toEqual([
    "2 objects failed",
    `5 objects not ready in time (${web}-0: 0 of 3 updated; ${web}-1: 0 of 3 updated; ${web}-2: 0 of 3 updated; 2 more)`,
  ]);
});
