/** The manifests of the demo's application, read from a file or a folder. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LineCounter, parseAllDocuments } from "yaml";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";

export const builtInApp = fileURLToPath(new URL("app", import.meta.url));

/** Something about one object, or about a place in a file that should hold one, that a person should know. */
export interface Reported {
  /** Key of the object, or `FILE, document N, line L`. */
  readonly object: ObjectKey;
  readonly reason: string;
}

export interface Manifests {
  /** In the order of the files' names. The name of one that has only a `generateName` is empty. */
  readonly objects: readonly KubeObject[];
  /** What cannot be read, and why. */
  readonly broken: readonly Reported[];
}

/**
 * Reads every `.yaml`, `.yml` and `.json` under `path`, in name order. `${NAME}` is replaced by `values`. Throws
 * NotFound where there is nothing at `path`; what is wrong within is in `broken`.
 */
export async function readManifests(path: string, values: Readonly<Record<string, string>> = {}): Promise<Manifests> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new LifeboatError("NotFound", `cannot read the application ${path}`, { cause });
  });
  const files = info.isDirectory()
    ? (await readdir(path, { recursive: true })).filter((name) => /\.(ya?ml|json)$/.test(name)).toSorted()
    : [""];
  const read = await Promise.all(
    files.map(async (name): Promise<Manifests> => {
      const label = name === "" ? basename(path) : name;
      try {
        const text = await readFile(join(path, name), "utf8");
        return parseManifests(
          text.replaceAll(/\$\{(\w+)\}/g, (all, key: string) => values[key] ?? all),
          label,
        );
      } catch (error) {
        return { objects: [], broken: [{ object: label, reason: messageOf(error) }] };
      }
    }),
  );
  return { objects: read.flatMap(({ objects }) => objects), broken: read.flatMap(({ broken }) => broken) };
}

/** Reads one file's text; a document that is broken leaves the others alone. `file` is what reports call it. */
export function parseManifests(text: string, file: string): Manifests {
  const lines = new LineCounter();
  const objects: KubeObject[] = [];
  const broken: Reported[] = [];
  // Merge keys and integers beyond 2^53: as kubectl reads them.
  const options = { logLevel: "silent", lineCounter: lines, merge: true, intAsBigInt: true } as const;
  for (const [at, document] of [...parseAllDocuments(text, options)].entries()) {
    const report = (offset: number, reason: string): void => {
      const { line } = lines.linePos(offset);
      broken.push({ object: `${file}, document ${at + 1}, line ${line}`, reason });
    };
    const [error] = document.errors;
    if (error !== undefined) {
      report(error.pos[0], withoutExcerpt(error.message));
      continue;
    }
    const offset = document.contents?.range?.[0] ?? 0;
    try {
      const found = expand(document.toJS({ reviver: (_, value: unknown) => exactly(value) }) as unknown);
      objects.push(...found);
    } catch (thrown) {
      report(offset, withoutExcerpt(messageOf(thrown)));
    }
  }
  return { objects, broken };
}

/** The parser's message goes on with the lines around the place. */
function withoutExcerpt(message: string): string {
  return (message.split("\n")[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
}

/** Integers that JavaScript cannot hold stay as they are written. */
function exactly(value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  return (JSON as unknown as { rawJSON: (text: string) => unknown }).rawJSON(String(value));
}

function expand(value: unknown): KubeObject[] {
  if (value === null || value === undefined) return [];
  const object = value as Partial<KubeObject>;
  const items = object["items"];
  if (typeof object.kind === "string" && object.kind.endsWith("List") && Array.isArray(items)) {
    return (items as unknown[]).flatMap((item) => expand(item));
  }
  const { metadata } = object as { readonly metadata?: { readonly name?: unknown; readonly generateName?: unknown } };
  const name = metadata?.name ?? "";
  const isNamed = typeof name === "string" && (name !== "" || typeof metadata?.generateName === "string");
  if (typeof object.kind === "string" && typeof object.apiVersion === "string" && isNamed) {
    return [{ ...object, metadata: { ...object.metadata, name } } as KubeObject];
  }
  const shown = JSON.stringify(value).slice(0, 80);
  throw new LifeboatError("ConfigInvalid", `not a Kubernetes object with apiVersion, kind and a name: ${shown}`);
}
