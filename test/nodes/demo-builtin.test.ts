import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { bedsHome } from "../bed/home.ts";
import { runDemo } from "./demo-run.ts";

const limitMs = 420_000;
const isRoot = process.getuid?.() === 0;

test("the demo on simulated nodes ends with west running everything, and says so", { timeout: limitMs }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "simulated"]);
  expect(code, output).toBe(0);
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expect(result?.acknowledged).toBeGreaterThan(200);
  expect(result?.rtoMs).toBeGreaterThan(result?.decisionMs ?? Infinity);
  expect(result?.notReplicated).toEqual([]);
  expect(result?.bothActiveMs).toBeNull();
});

test.runIf(isRoot)("on real nodes the pods themselves say when both sites ran", { timeout: limitMs }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "real"]);
  expect(code, output).toBe(0);
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expect(result?.bothActiveMs).toEqual(expect.any(Number));
});

test("Ctrl-C in the middle leaves nothing behind", { timeout: limitMs }, async () => {
  const before = await readdir(bedsHome()).catch((): string[] => []);
  const { code } = await runDemo(["--nodes", "simulated"], { interruptAt: "Protecting it" });
  expect(code).toBe(130);
  const left = (await readdir(bedsHome())).filter((name) => !before.includes(name));
  expect(left).toHaveLength(0);
});
