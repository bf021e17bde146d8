import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runDemo } from "./demo-run.ts";

const app = fileURLToPath(new URL("demo-awkward", import.meta.url));

test("an application with every kind of trouble ends in a list of what and why", { timeout: 540_000 }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "simulated", "--app", app]);
  expect(result, output).toBeDefined();
  const reasonOf = (object: string): string | undefined =>
    result?.notReplicated.find((entry) => entry.object === object)?.reason;
  expect(reasonOf("nobody.example/Widget/awkward/orphan")).toContain("does not serve");
  expect(reasonOf("apps/Deployment/awkward/nowhere")).toContain("not ready at east either");
  expect(reasonOf("apps/Deployment/awkward-small/many")).toContain("not ready at east either");
  // What was ready at east is ready at west, whatever else did not come up.
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expect(code).toBe(0);
});
