import { readFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import { parseAllDocuments, stringify } from "yaml";
import { type ProtectionGroup, peerOf } from "../config/group.ts";
import { parseGroup } from "../config/parse-group.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { keyOf } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { render } from "../render/render.ts";
import type { Role } from "../render/types.ts";
import { type AccessFlags, getGroup, openSite, withAccess } from "./access.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

interface RenderFlags extends AccessFlags {
  readonly file: string;
  readonly group: string;
  readonly site: string;
  readonly role: Role;
}

export function addRender(program: Command, terminal: Terminal): void {
  withAccess(program.command("render"))
    .requiredOption("-f, --file <file>", "manifest: one or more YAML documents, or JSON")
    .requiredOption("--group <name|file>", "protection group: its name at the site, or a file with its manifest")
    .requiredOption("--site <site>", "site to render for")
    .addOption(new Option("--role <role>", "role of that site").choices(["standby", "active"]).default("standby"))
    .summary("try a group's mutations and mappings on a manifest")
    .description(
      "Prints what a site would get for the objects in a file, and findings on stderr. Nothing is sent to a cluster; " +
        "with --group FILE none is needed.",
    )
    .addHelpText(
      "after",
      `\nExample:\n  ${terminal.program} render -f web.yaml --group shop.yaml --site west --role standby`,
    )
    .action(async (flags: RenderFlags) => printRendered(flags, terminal));
}

async function printRendered(flags: RenderFlags, terminal: Terminal): Promise<void> {
  const group = await loadGroup(flags, terminal);
  const source = sourceOf(group, flags.site);
  let printed = 0;
  for (const object of await readObjects(flags.file)) {
    const context = {
      spec: group.spec,
      group: group.name,
      site: flags.site,
      source,
      role: flags.role,
      epoch: "0.0",
      facts: {},
    };
    const rendered = render({ key: keyOf(object), object, managers: [] }, context);
    for (const item of rendered.objects) {
      terminal.out(`${printed === 0 ? "" : "---\n"}${stringify(JSON.parse(JSON.stringify(item)))}`);
      printed++;
    }
    if (rendered.withheld !== undefined) terminal.err(`${keyOf(object)}: not applied: ${rendered.withheld.message}\n`);
    for (const finding of rendered.findings) {
      terminal.err(`${finding.key}: ${finding.code}: ${finding.message}\n`);
      terminal.setExitCode(exitCodes.found);
    }
  }
}

function sourceOf(group: ProtectionGroup, site: string): string {
  try {
    return peerOf(group.spec, site);
  } catch (error) {
    throw new LifeboatError("ConfigInvalid", messageOf(error), {
      hint: `--site is one of ${group.spec.sites.map((entry) => entry.name).join(", ")}`,
    });
  }
}

async function loadGroup(flags: RenderFlags, terminal: Terminal): Promise<ProtectionGroup> {
  const object = /\.(ya?ml|json)$|\//.test(flags.group)
    ? (await readObjects(flags.group))[0]
    : (await getGroup(await openSite(flags, terminal), flags.group, terminal.signal)).object;
  if (object === undefined) throw new LifeboatError("ConfigInvalid", `${flags.group} holds no ProtectionGroup`);
  const { group, warnings } = parseGroup(object);
  for (const warning of warnings) terminal.err(`warning: ${warning}\n`);
  return group;
}

/** The objects of a manifest; a `List` counts as its items. */
async function readObjects(path: string): Promise<KubeObject[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new LifeboatError("ConfigInvalid", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  });
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors[0] !== undefined) {
      throw new LifeboatError("ConfigInvalid", `${path}: ${document.errors[0].message}`);
    }
    const value: unknown = document.toJS();
    if (value === null || value === undefined) return [];
    const { items } = value as { items?: unknown };
    return (Array.isArray(items) ? items : [value]).map((item) => checkObject(item, path));
  });
}

function checkObject(value: unknown, path: string): KubeObject {
  const { apiVersion, kind, metadata } = (value ?? {}) as Partial<KubeObject>;
  if (typeof apiVersion === "string" && typeof kind === "string" && typeof metadata?.name === "string") {
    return value as KubeObject;
  }
  throw new LifeboatError("ConfigInvalid", `${path}: a document has no apiVersion, kind or metadata.name`);
}
