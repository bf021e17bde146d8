import { readdir, readFile } from "node:fs/promises";
import { expect, it } from "vitest";

const root = new URL("../../../", import.meta.url);

/** Codes that stand in the reducers, of refusals and of orders that are refused. */
async function codesInUse(): Promise<string[]> {
  const folder = new URL("src/failover/", root);
  const files = (await readdir(folder)).filter((name) => name.endsWith(".ts"));
  const texts = await Promise.all(files.map(async (name) => readFile(new URL(name, folder), "utf8")));
  const pattern = /(?:refusal\(|refuse\(|outcome\([^,()]+, false, )\s*"([A-Z]\w+)"/g;
  return [...new Set(texts.flatMap((text) => [...text.matchAll(pattern)].map(([, code = ""]) => code)))];
}

it("every code of a refusal stands in docs/failover.md, with what ends it", async () => {
  const docs = await readFile(new URL("docs/failover.md", root), "utf8");
  const [, section = ""] = /\n## Refusals\n([^]*?)\n## /.exec(docs) ?? [];
  const told = new Set(section.match(/(?<=`)[A-Z]\w+(?=`)/g));
  const used = await codesInUse();
  expect(used.length).toBeGreaterThan(20);
  expect(used.filter((code) => !told.has(code))).toEqual([]);
});
