import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
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
  expect(result?.bothActiveMs).toBe(0);
});

test("Ctrl-C in the middle leaves nothing behind", { timeout: limitMs }, async () => {
  const bedHome = await mkdtemp(join(tmpdir(), "demo-"));
  try {
    const { code, output } = await runDemo(["--nodes", "simulated"], { interruptAt: "Protecting it", bedHome });
    expect(code, output).toBe(130);
    expect(await readdir(bedHome)).toEqual([]);
  } finally {
    await rm(bedHome, { recursive: true, force: true });
  }
});
