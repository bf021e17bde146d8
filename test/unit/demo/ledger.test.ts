import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { resources } from "../../../src/kube/resource.ts";
import { keyOf } from "../../../src/objects/key.ts";
import type { KubeObject } from "../../../src/objects/object.ts";
import { changeAnnotation, LedgerWriter, lossesOf } from "../../demo/ledger.ts";
import { scratchFolder } from "../journal/helpers.ts";
import { SmallServer } from "./small-server.ts";

const { signal } = new AbortController();
const prices: KubeObject = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "prices", namespace: "shop" } };
const key = keyOf(prices);

/** What a writer has in its ledger after a second of work, and the site that it wrote to. */
async function written(east: SmallServer, folder: ReturnType<typeof scratchFolder>): Promise<LedgerWriter> {
  east.put(prices);
  const writer = new LedgerWriter(east.client, folder.path("ledger.jsonl"));
  await writer.choose([prices], new Map([[key, resources.configMaps]]), { signal });
  const stop = new AbortController();
  const running = writer.run(50, { signal: stop.signal });
  while (writer.entries.length < 5) await delay(10);
  stop.abort();
  await running;
  return writer;
}

function changed(seq: number): KubeObject {
  return { ...prices, metadata: { ...prices.metadata, annotations: { [changeAnnotation]: String(seq) } } };
}

test("a survivor that has the newest change has lost nothing", async () => {
  using folder = scratchFolder();
  await using east = await SmallServer.start();
  await using west = await SmallServer.start();
  const writer = await written(east, folder);
  west.put(changed(Math.max(...writer.entries.map(({ seq }) => seq))));
  expect(await writer.losses(west.client, Date.now(), { signal })).toEqual({ lost: 0, rpoMs: 0 });
});

test("each acknowledged change that a survivor does not have is counted as lost, and says how far back that goes", async () => {
  using folder = scratchFolder();
  await using east = await SmallServer.start();
  await using west = await SmallServer.start();
  const writer = await written(east, folder);
  // Answers need not come in the order of the changes.
  const newest = writer.entries.toSorted((a, b) => a.seq - b.seq).slice(-2);
  west.put(changed((newest[0]?.seq ?? 0) - 1));
  const ackedMs = newest.map(({ ackedAtMs }) => ackedAtMs);
  const killedAtMs = Math.max(...ackedMs) + 100;
  const losses = await writer.losses(west.client, killedAtMs, { signal });
  expect(losses).toEqual({ lost: 2, rpoMs: killedAtMs - Math.min(...ackedMs) });
});

test("with an object that a survivor does not have at all, everything that was written to it is lost", async () => {
  using folder = scratchFolder();
  await using east = await SmallServer.start();
  await using west = await SmallServer.start();
  const writer = await written(east, folder);
  const { lost } = await writer.losses(west.client, Date.now(), { signal });
  expect(lost).toBe(writer.entries.length);
});

test("what a later change has overwritten is not lost", () => {
  const entries = [1, 2, 3].map((seq) => ({ seq, key, ackedAtMs: seq * 100 }));
  expect(lossesOf(entries, new Map([[key, 3]]), 400)).toEqual({ lost: 0, rpoMs: 0 });
  expect(lossesOf(entries, new Map([[key, 2]]), 400)).toEqual({ lost: 1, rpoMs: 100 });
  // An object that nobody has asked about.
  expect(lossesOf(entries, new Map(), 400)).toEqual({ lost: 3, rpoMs: 300 });
});
