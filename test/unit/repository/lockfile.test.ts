import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";

interface LockEntry {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** npm leaves out of the lock file what it could not find for other platforms, and then `npm ci` refuses to install. */
it("the lock file names every optional dependency, so that `npm ci` works from a clean clone", async () => {
  const text = await readFile(new URL("../../../package-lock.json", import.meta.url), "utf8");
  const { packages } = JSON.parse(text) as { packages: Record<string, LockEntry> };
  const wanted = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  expect(wanted.length).toBeGreaterThan(20);
  expect(wanted.filter((name) => packages[`node_modules/${name}`]?.version === undefined)).toEqual([]);
});
