import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GroupClaims } from "../../../src/agent/claims.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

/** Groups of a site, opened one after the other as an agent does. */
class Site {
  readonly open = new Map<string, GroupClaims>();
  /** Names of the groups that are known to have ended. */
  readonly gone = new Set<string>();
  readonly #journals = new Map<string, Journal>();

  start(name: string, wanted: () => readonly string[] | undefined): GroupClaims {
    const journal = Journal.open({ path: join(folder, `${name}.db`), group: name });
    this.#journals.set(name, journal);
    const claims = new GroupClaims({
      journal,
      wanted,
      others: () => [...this.open].flatMap(([other, each]) => (other === name ? [] : [{ name: other, claims: each }])),
      isGone: (other) => this.gone.has(other),
      onChange: () => undefined,
      log: silentLog,
    });
    this.open.set(name, claims);
    claims.begin();
    claims.refresh();
    return claims;
  }

  /** Once all that was noted is on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const journal of this.#journals.values()) {
      await journal.putState("last", true);
      journal.close();
    }
  }
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lifeboat-claims-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const shop = (): readonly string[] => ["shop"];

/** What `second` left to `first` in a process that is over by now. */
async function earlier(): Promise<void> {
  await using site = new Site();
  site.start("first", shop);
  const second = site.start("second", shop);
  expect(second.taken).toEqual(new Map([["shop", "first"]]));
}

it("what a group left to another one stays with that one after a restart, in whatever order they are opened", async () => {
  await earlier();
  await using site = new Site();
  const second = site.start("second", shop);
  expect(second.namespaces).toEqual([]);
  const first = site.start("first", shop);
  second.refresh();
  first.refresh();
  expect(first.namespaces).toEqual(["shop"]);
  expect(second.taken).toEqual(new Map([["shop", "first"]]));
});

it("what a group left to one that cannot be opened, or whose spec is not known yet, it does not take", async () => {
  await earlier();
  await using site = new Site();
  const second = site.start("second", shop);
  second.refresh();
  expect(second.namespaces).toEqual([]);
  let spec: readonly string[] | undefined;
  site.start("first", () => spec);
  second.refresh();
  expect(second.namespaces).toEqual([]);
  spec = ["elsewhere"];
  second.refresh();
  expect(second.namespaces).toEqual(["shop"]);
});

it("a group whose own spec is not known yet does not forget what it left to others", async () => {
  await earlier();
  await using site = new Site();
  let spec: readonly string[] | undefined;
  const second = site.start("second", () => spec);
  spec = shop();
  expect(second.namespaces).toEqual([]);
});

it("what a group left to one that has ended is its own", async () => {
  await earlier();
  await using site = new Site();
  const second = site.start("second", shop);
  site.gone.add("first");
  expect(second.refresh()).toBe(true);
  expect(second.namespaces).toEqual(["shop"]);
  expect(second.refresh()).toBe(false);
});
