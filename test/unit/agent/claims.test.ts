import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GroupClaims } from "../../../src/agent/claims.ts";
import type { NamespacesHere } from "../../../src/agent/group-namespaces.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

/** Groups of a site, opened one after the other as an agent does. */
class Site {
  readonly open = new Map<string, GroupClaims>();
  /** Names of the groups that are known to have ended. */
  readonly gone = new Set<string>();
  /** Names of the groups of which what is taken has changed. */
  readonly changes: string[] = [];
  readonly #journals = new Map<string, Journal>();

  start(name: string, wanted: () => NamespacesHere | undefined, leftOut: Record<string, string> = {}): GroupClaims {
    const journal = Journal.open({ path: join(folder, `${name}.db`), group: name });
    this.#journals.set(name, journal);
    const claims = new GroupClaims({
      journal,
      wanted,
      leftOut: () => new Map(Object.entries(leftOut)),
      others: () => [...this.open].flatMap(([other, each]) => (other === name ? [] : [{ name: other, claims: each }])),
      isGone: (other) => this.gone.has(other),
      onChange: () => void this.changes.push(name),
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

const whole = (...namespaces: readonly string[]): NamespacesHere => ({ namespaces, whole: true });
const shop = (): NamespacesHere => whole("shop");

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
  let spec: NamespacesHere | undefined;
  site.start("first", () => spec);
  second.refresh();
  expect(second.namespaces).toEqual([]);
  spec = whole("elsewhere");
  second.refresh();
  expect(second.namespaces).toEqual(["shop"]);
});

it("a group whose own spec is not known yet does not forget what it left to others", async () => {
  await earlier();
  await using site = new Site();
  let spec: NamespacesHere | undefined;
  const second = site.start("second", () => spec);
  spec = shop();
  expect(second.namespaces).toEqual([]);
});

it("what a group left to one that has ended is its own", async () => {
  await earlier();
  await using site = new Site();
  const second = site.start("second", shop);
  site.gone.add("first");
  second.refresh();
  expect(site.changes).toEqual(["second"]);
  expect(second.namespaces).toEqual(["shop"]);
  second.refresh();
  expect(site.changes).toEqual(["second"]);
});

it("what a group left to one whose objects are not all read yet it does not take, whatever is selected by labels", async () => {
  await earlier();
  await using site = new Site();
  // Neither knows yet what its labels select.
  let [ours, theirs]: [NamespacesHere, NamespacesHere] = [
    { namespaces: [], whole: false },
    { namespaces: [], whole: false },
  ];
  const second = site.start("second", () => ours);
  site.start("first", () => theirs);
  second.refresh();
  expect(second.taken).toEqual(new Map([["shop", "first"]]));
  expect(second.holderOf("shop"), "asked by its capture").toBe("first");
  ours = shop();
  second.refresh();
  expect(second.namespaces).toEqual([]);
  theirs = whole("elsewhere");
  expect(second.holderOf("shop")).toBeUndefined();
  second.refresh();
  expect(second.namespaces).toEqual(["shop"]);
});

it("what a capture leaves to another group is not claimed, though this group was here first", async () => {
  await using site = new Site();
  const first = site.start("first", () => whole("mine"), { shop: "second" });
  const second = site.start("second", shop);
  first.refresh();
  second.refresh();
  expect(first.taken).toEqual(new Map([["shop", "second"]]));
  expect(second.namespaces).toEqual(["shop"]);
});
