import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const generator = "node_modules/@grpc/proto-loader/build/bin/proto-loader-gen-types.js";

/** The same options as in src/rpc/proto.ts. To write: `node <generator> <options> -O src/rpc/generated <files>`. */
const options = [
  "--longs=Number",
  "--enums=String",
  "--defaults",
  "--oneofs",
  "--includeComments",
  "--grpcLib=@grpc/grpc-js",
  "--importFileExtension=.ts",
  "-I",
  "proto",
];
const files = ["lifeboat/v1/replication.proto", "lifeboat/v1/failover.proto", "lifeboat/v1/guard.proto"];

async function contents(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(
    paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path, "utf8")] as const),
  );
  return new Map(texts);
}

it("src/rpc/generated is what the .proto files generate", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-proto-"));
  try {
    await promisify(execFile)(process.execPath, [generator, ...options, "-O", folder, ...files], { cwd: root });
    const fresh = await contents(folder);
    const committed = await contents(join(root, "src/rpc/generated"));
    expect([...committed.keys()].sort()).toEqual([...fresh.keys()].sort());
    for (const [path, text] of fresh) expect(committed.get(path), path).toBe(text);
  } finally {
    await rm(folder, { recursive: true });
  }
});
