import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/**
 * Imports between rooms point downward: a room may import from rooms below it and from itself. Circles between files
 * are refused by the linter.
 */
const root = fileURLToPath(new URL("../../..", import.meta.url));
const source = join(root, "src");
const rooms = await roomsOfDocs();
const importPattern = /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\("([^"]+)"\)/g;

/** The list in docs/architecture.md, highest first. */
async function roomsOfDocs(): Promise<string[]> {
  const docs = await readFile(join(root, "docs/architecture.md"), "utf8");
  const [, list = ""] = /\n## Rooms\n\n```\n([^]*?)```/.exec(docs) ?? [];
  return [...list.matchAll(/^src\/(\S+?)(?:\/|\.ts) /gm)].map(([, room = ""]) => room);
}

interface Import {
  readonly file: string;
  readonly from: string;
  readonly typeOnly: boolean;
}

async function importsOfAll(): Promise<Import[]> {
  const files = (await readdir(source, { recursive: true })).filter((name) => name.endsWith(".ts"));
  const found = await Promise.all(
    files.map(async (file) => {
      const text = await readFile(join(source, file), "utf8");
      return [...text.matchAll(importPattern)].map((match) => ({
        file,
        from: match[1] ?? match[2] ?? "",
        typeOnly: /^\s*(?:import|export)\s+type\b/.test(match[0]),
      }));
    }),
  );
  return found.flat();
}

function roomOf(file: string): string {
  const path = file.replace(/\.ts$/, "");
  return rooms.find((room) => path === room || path.startsWith(`${room}/`)) ?? "";
}

function target({ file, from }: Import): string {
  return relative(source, join(source, dirname(file), from));
}

const imports = await importsOfAll();
const inner = imports.filter(({ from }) => from.startsWith("."));

describe("imports", () => {
  it("are found at all, and every file is in a room", () => {
    expect(inner.length).toBeGreaterThan(300);
    expect([...new Set(inner.map(({ file }) => file).filter((file) => roomOf(file) === ""))]).toEqual([]);
  });

  it("point downward between rooms", () => {
    const upward = inner.filter((item) => {
      const to = target(item);
      return !to.startsWith("..") && rooms.indexOf(roomOf(to)) < rooms.indexOf(roomOf(item.file));
    });
    // A type alone binds nothing at run time: the doors of a stream are declared where the stream is.
    expect(upward.filter(({ typeOnly }) => !typeOnly).map(({ file, from }) => `${file} → ${from}`)).toEqual([]);
  });

  it("of the Kubernetes client and of gRPC stand in one room each", () => {
    const outside = (room: string, pattern: RegExp): string[] =>
      imports.filter(({ file, from }) => pattern.test(from) && roomOf(file) !== room).map(({ file }) => file);
    expect(outside("kube", /^(@kubernetes\/|undici)/)).toEqual([]);
    expect(outside("rpc", /^@grpc\//)).toEqual([]);
  });

  it("of what decides reach nothing that does I/O", () => {
    const pure = imports.filter(({ file }) => ["render", "objects", "failover"].includes(roomOf(file)));
    const io = pure.filter(
      ({ from, typeOnly }) =>
        !typeOnly && /^(node:(?!crypto)|@grpc|@kubernetes|undici|pino|prom-client|p-queue)/.test(from),
    );
    expect(io.map(({ file, from }) => `${file} → ${from}`)).toEqual([]);
  });
});
