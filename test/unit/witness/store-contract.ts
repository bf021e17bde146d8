import { afterEach, describe, expect, it } from "vitest";
import type { WitnessGroupRecord, WitnessTerm } from "../../../src/failover/witness-state.ts";
import type { WitnessStore } from "../../../src/witness/store.ts";

/** One place where a store can be; `open` is a process that opens it. */
export interface StorePlace extends AsyncDisposable {
  open(): Promise<WitnessStore>;
}

const options = { signal: new AbortController().signal };
const first: WitnessTerm = { generation: 10, nonce: "a" };
const second: WitnessTerm = { generation: 11, nonce: "b" };

export function groupRecord(group: string, counter: number): WitnessGroupRecord {
  return {
    group,
    sites: ["east", "west"],
    cert: { epoch: { generation: 10, nonce: "a", counter, forcedBy: "" }, holder: "east", sig: "" },
    veto: { site: "east", incarnation: 4 },
    switching: { opId: "op", from: "east", to: "west", incarnation: 4, seq: 9 },
    voided: ["old"],
    committed: null,
    promiseMsMax: 24_600,
    automaticAtUnixMs: null,
    released: false,
  };
}

/** What every store has to pass. */
export function describeStore(name: string, createPlace: () => Promise<StorePlace>): void {
  describe(`${name} as a witness's store`, () => {
    const disposables: AsyncDisposable[] = [];
    const place = async () => {
      const created = await createPlace();
      disposables.push(created);
      return created;
    };
    afterEach(async () => {
      for (const disposable of disposables.splice(0)) await disposable[Symbol.asyncDispose]();
    });

    it("is new without a term and without groups", async () => {
      const store = await (await place()).open();
      expect(await store.readTerm(options)).toBeNull();
      expect(await store.readGroups(options)).toEqual([]);
      await store.close();
    });

    it("keeps the term and every field of every group", async () => {
      const here = await place();
      const store = await here.open();
      await store.claim(null, first, options);
      await store.commit(first, [groupRecord("shop", 1), groupRecord("bank", 7)], options);
      await store.commit(first, [groupRecord("shop", 2)], options);
      await store.close();
      const again = await here.open();
      expect(await again.readTerm(options)).toEqual(first);
      const byName = (await again.readGroups(options)).toSorted((a, b) => a.group.localeCompare(b.group));
      expect(byName).toEqual([groupRecord("bank", 7), groupRecord("shop", 2)]);
      await again.close();
    });

    it("gives the term to one of two that start together", async () => {
      const here = await place();
      const [a, b] = [await here.open(), await here.open()];
      const claims = await Promise.allSettled([a.claim(null, first, options), b.claim(null, second, options)]);
      expect(claims.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
      const lost = claims.find(({ status }) => status === "rejected");
      expect(lost).toMatchObject({ reason: { code: "WitnessReplaced", retryable: true } });
      await a.close();
      await b.close();
    });

    it("refuses a claim on a term that is no longer there", async () => {
      const store = await (await place()).open();
      await store.claim(null, first, options);
      await expect(store.claim(null, second, options)).rejects.toMatchObject({ code: "WitnessReplaced" });
      await expect(store.claim({ ...first, nonce: "x" }, second, options)).rejects.toMatchObject({
        code: "WitnessReplaced",
      });
      expect(await store.readTerm(options)).toEqual(first);
      await store.close();
    });

    it("lets nobody but the owner of the term write, or confirm it", async () => {
      const here = await place();
      const [former, owner] = [await here.open(), await here.open()];
      await former.claim(null, first, options);
      await former.commit(first, [groupRecord("shop", 1)], options);
      await owner.claim(first, second, options);
      await expect(former.commit(first, [groupRecord("shop", 2)], options)).rejects.toMatchObject({
        code: "WitnessReplaced",
      });
      await expect(former.commit(first, [], options)).rejects.toMatchObject({ code: "WitnessReplaced" });
      await owner.commit(second, [], options);
      expect(await owner.readGroups(options)).toEqual([groupRecord("shop", 1)]);
      await former.close();
      await owner.close();
    });

    it("stores all records of a batch", async () => {
      const store = await (await place()).open();
      await store.claim(null, first, options);
      const records = Array.from({ length: 300 }, (_, index) => groupRecord(`group-${index}`, index));
      await store.commit(first, records, options);
      expect(await store.readGroups(options)).toHaveLength(300);
      await store.close();
    });
  });
}
