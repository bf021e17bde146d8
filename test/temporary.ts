/** Every test file has a folder of its own for temporary files, which goes with it. */
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const dir = mkdtempSync(join(tmpdir(), "lifeboat-test-"));
process.env["TMPDIR"] = dir;

afterAll(async () => rm(dir, { recursive: true, force: true }));
