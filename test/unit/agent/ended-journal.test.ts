import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endJournal } from "../../../src/agent/ended-journal.ts";
import { journalPath } from "../../../src/agent/group-journal.ts";
import { Journal } from "../../../src/journal/journal.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "lifeboat-ended-"));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

const key = "apps/Deployment/shop/web";
const wallMs = 1_700_000_000_000;

test("the journal of a group that has ended is removed", async () => {
  const path = journalPath(dataDir, "shop");
  Journal.open({ path, group: "shop" }).close();
  expect(await endJournal(path, { divergent: 0, wallMs })).toBeUndefined();
  expect(existsSync(path)).toBe(false);
});

test("one that keeps what a returned site had changed is kept, readable, out of the way of a next group", async () => {
  const path = journalPath(dataDir, "shop");
  const journal = Journal.open({ path, group: "shop" });
  await journal.saveDivergence([{ key, what: "unknown", object: "{}" }]);
  const divergent = journal.divergentKeys().length;
  journal.close();
  const kept = (await endJournal(path, { divergent, wallMs })) ?? "";
  expect(existsSync(path)).toBe(false);
  const again = Journal.open({ path: kept, group: "shop" });
  expect(again.divergent(key)).toMatchObject({ object: "{}" });
  again.close();
});
