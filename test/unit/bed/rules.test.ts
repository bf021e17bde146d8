import { expect, test } from "vitest";
import { listeningPorts } from "../../bed/faults/delay.ts";
import { directedCuts, ruleSet } from "../../bed/faults/rules.ts";

const addresses: Readonly<Record<string, readonly string[]>> = {
  east: ["10.0.0.10", "10.0.0.11"],
  "east/agent": ["10.0.0.11"],
  west: ["10.0.0.20", "10.0.0.21"],
  host: ["10.0.0.1"],
};
const resolve = (endpoint: string): readonly string[] => addresses[endpoint] ?? [];
const cut = (a: string, b: string, direction: "both" | "forth" | "back"): string[] =>
  directedCuts([{ a, b, direction, mode: "drop" }], resolve).map(({ from, to }) => `${from} ${to}`);

test("a cut between sites separates every address of one from every address of the other", () => {
  expect(cut("east", "west", "forth")).toEqual([
    "10.0.0.10 10.0.0.20",
    "10.0.0.10 10.0.0.21",
    "10.0.0.11 10.0.0.20",
    "10.0.0.11 10.0.0.21",
  ]);
  expect(cut("east", "west", "both")).toHaveLength(8);
});

test("a cut between an agent and its site separates the agent from the rest", () => {
  expect(cut("east/agent", "east", "forth")).toEqual(["10.0.0.11 10.0.0.10"]);
  expect(cut("east", "east/agent", "back")).toEqual(["10.0.0.11 10.0.0.10"]);
});

test("packets are dropped where they arrive, and on the way to the host where they leave", () => {
  const cuts = directedCuts([{ a: "east", b: "host", direction: "both", mode: "drop" }], resolve);
  const rules = ruleSet("10.0.0.10", "10.0.0.1", cuts);
  expect(rules).toContain("ip saddr 10.0.0.1 drop");
  expect(rules).toContain("ip daddr 10.0.0.1 drop");
  expect(ruleSet("10.0.0.20", "10.0.0.1", cuts)).not.toMatch(/drop|reject/);
});

test("the rules of a place replace those that it had", () => {
  const rules = ruleSet("10.0.0.10", "10.0.0.1", []);
  for (const family of ["netdev", "inet"]) expect(rules).toContain(`delete table ${family} bed_faults`);
});

test("ports that only the place itself can reach are not among the open ones", () => {
  const table = `  sl  local_address rem_address   st
   0: 0100007F:0947 00000000:0000 0A
   1: 00000000:192B 00000000:0000 0A
   2: 0A57010A:192C 00000000:0000 01
   3: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A
`;
  expect(listeningPorts(table)).toEqual([6443, 8080]);
});
