import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { SqliteWitnessStore } from "../../../src/witness/sqlite-store.ts";
import type { WitnessStore } from "../../../src/witness/store.ts";
import { describeStore, groupRecord } from "./store-contract.ts";

const options = { signal: new AbortController().signal };
const term = { generation: 10, nonce: "a" };

function folder(): { readonly path: string } & Disposable {
  const name = mkdtempSync(join(tmpdir(), "lifeboat-witness-"));
  return { path: join(name, "data", "witness.db"), [Symbol.dispose]: () => rmSync(name, { recursive: true }) };
}

describeStore("SQLite", async () => {
  const place = folder();
  return {
    open: async () => SqliteWitnessStore.open({ path: place.path }),
    [Symbol.asyncDispose]: async () => place[Symbol.dispose](),
  };
});

describe("the witness's file", () => {
  it("is readable by its owner only", async () => {
    using place = folder();
    await SqliteWitnessStore.open({ path: place.path }).close();
    expect(statSync(place.path).mode & 0o777).toBe(0o600);
  });

  it("that is full refuses a batch as a whole and says so, and keeps what it held", async () => {
    using place = folder();
    const store: WitnessStore = SqliteWitnessStore.open({ path: place.path, maxBytes: 64 * 1024 });
    await store.claim(null, term, options);
    await store.commit(term, [groupRecord("shop", 1)], options);
    const many = Array.from({ length: 500 }, (_, index) => groupRecord(`group-${index}`, index));
    await expect(store.commit(term, many, options)).rejects.toMatchObject({
      code: "WitnessStoreFull",
      hint: expect.stringContaining("free space"),
    });
    expect(await store.readGroups(options)).toEqual([groupRecord("shop", 1)]);
    await store.commit(term, [groupRecord("shop", 2)], options);
    await store.close();
  });

  it("that is damaged is named, with what to do", async () => {
    using place = folder();
    const store: WitnessStore = SqliteWitnessStore.open({ path: place.path });
    await store.claim(null, term, options);
    await store.commit(
      term,
      Array.from({ length: 200 }, (_, index) => groupRecord(`group-${index}`, index)),
      options,
    );
    await store.close();
    await truncate(place.path, 9000);
    expect(() => SqliteWitnessStore.open({ path: place.path })).toThrow(
      expect.objectContaining({ code: "WitnessStoreCorrupt", hint: expect.stringContaining("away") }),
    );
  });

  it("that is no database, or that of another program, is not touched", async () => {
    using place = folder();
    await SqliteWitnessStore.open({ path: place.path }).close();
    const foreign = new DatabaseSync(place.path);
    foreign.exec("PRAGMA application_id = 42");
    foreign.close();
    expect(() => SqliteWitnessStore.open({ path: place.path })).toThrow(
      expect.objectContaining({ code: "WitnessStoreCorrupt" }),
    );
    rmSync(`${place.path}-wal`, { force: true });
    writeFileSync(place.path, "not a database, but long enough to look like something else altogether".repeat(20));
    expect(() => SqliteWitnessStore.open({ path: place.path })).toThrow(
      expect.objectContaining({ code: "WitnessStoreCorrupt" }),
    );
  });

  it("of a newer version is refused", async () => {
    using place = folder();
    await SqliteWitnessStore.open({ path: place.path }).close();
    const newer = new DatabaseSync(place.path);
    newer.exec("PRAGMA user_version = 2");
    newer.close();
    expect(() => SqliteWitnessStore.open({ path: place.path })).toThrow(
      expect.objectContaining({ code: "ConfigInvalid", message: expect.stringContaining("newer version") }),
    );
  });

  it("with a malformed record is damaged, rather than read as a group that was never granted", async () => {
    using place = folder();
    const store: WitnessStore = SqliteWitnessStore.open({ path: place.path });
    await store.claim(null, term, options);
    await store.close();
    const other = new DatabaseSync(place.path);
    other.exec("INSERT INTO groups VALUES ('shop', '{}')");
    other.close();
    const again: WitnessStore = SqliteWitnessStore.open({ path: place.path });
    await expect(again.readGroups(options)).rejects.toMatchObject({ code: "WitnessStoreCorrupt" });
    await again.close();
  });
});
