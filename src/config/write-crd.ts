import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { generatedFiles } from "./generated.ts";

/** Writes the files that are generated from the schemas: `node src/config/write-crd.ts`. */
const root = fileURLToPath(new URL("../..", import.meta.url));
for (const [path, text] of generatedFiles()) {
  await mkdir(dirname(`${root}/${path}`), { recursive: true });
  await writeFile(`${root}/${path}`, text);
}
