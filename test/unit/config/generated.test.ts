import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { groupSchema, type StructuralSchema } from "../../../src/config/crd.ts";
import { generatedFiles } from "../../../src/config/generated.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

it.each([...generatedFiles()])(
  "%s is what the schema generates; else run src/config/write-crd.ts",
  async (path, text) => {
    expect(await readFile(`${root}/${path}`, "utf8")).toBe(text);
  },
);

it("describes every field, so that kubectl explain is complete", () => {
  expect(undescribed(groupSchema(), "ProtectionGroup")).toEqual([]);
});

function undescribed(schema: StructuralSchema, path: string): string[] {
  const own = schema.description === undefined || schema.description === "" ? [path] : [];
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    undescribed(field, `${path}.${name}`),
  );
  const below = [schema.items, schema.additionalProperties].flatMap((item) =>
    item === undefined ? [] : undescribed(item, `${path}[]`),
  );
  return [...own, ...fields, ...below];
}
