import { expect, test } from "vitest";
import { contestRoundsMaxCount, ContestTable, contestWindowMs } from "../../../src/apply/contest.ts";

const fields = ["spec.replicas"];

test("the same manager is repaired a few times, then left alone until it gives in", () => {
  const table = new ContestTable();
  for (let round = 0; round < contestRoundsMaxCount; round++) {
    expect(table.enter("k", "argo", fields, round)).toBe(true);
    table.repaired("k");
  }
  expect(table.enter("k", "argo", fields, 10)).toBe(false);
  expect(table.contested()).toEqual([{ key: "k", manager: "argo", fields, sinceMs: 10 }]);
  expect(table.enter("k", "argo", fields, 10 + contestWindowMs * 2)).toBe(false);
  table.forget("k");
  expect(table.isContested("k")).toBe(false);
  expect(table.enter("k", "argo", fields, 20)).toBe(true);
});

test("rare incidents and other managers start anew", () => {
  const table = new ContestTable();
  for (let round = 0; round < 10; round++) {
    expect(table.enter("k", "argo", fields, round * contestWindowMs)).toBe(true);
    table.repaired("k");
  }
  for (let round = 0; round < 10; round++) expect(table.enter("k", `m${round}`, fields, 0)).toBe(true);
  expect(table.contested()).toEqual([]);
});

test("a repair that has to be tried again and again is one round", () => {
  const table = new ContestTable();
  for (let attempt = 0; attempt < 10; attempt++) expect(table.enter("k", "argo", fields, attempt)).toBe(true);
  table.repaired("k");
  for (let round = 1; round < contestRoundsMaxCount; round++) {
    expect(table.enter("k", "argo", fields, round)).toBe(true);
    table.repaired("k");
  }
  expect(table.enter("k", "argo", fields, 10)).toBe(false);
});
