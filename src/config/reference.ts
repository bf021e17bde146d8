import { agentConfigSchema, witnessConfigSchema } from "./agent.ts";
import { guardConfigSchema } from "./guard.ts";
import { groupSchema, structural, type StructuralSchema } from "./crd.ts";
import { groupApi } from "./group.ts";

/** Reference pages, made from the schemas. */

export function configurationReference(): string {
  const pages = [
    ["Agent", "lifeboat agent --config FILE", structural(agentConfigSchema)],
    ["Witness", "lifeboat witness --config FILE", structural(witnessConfigSchema)],
    ["Node guard", "lifeboat guard --config FILE", structural(guardConfigSchema)],
  ] as const;
  const lines = [
    "# Configuration files",
    "",
    "<!-- Generated from src/config/agent.ts and guard.ts by `node src/config/write-crd.ts`. Do not edit. -->",
    "",
    "YAML or JSON. Unknown fields are refused.",
    "",
  ];
  for (const [title, command, schema] of pages) {
    lines.push(`## ${title}`, "", `\`${command}\``, "", ...table(rowsOf(schema, "")), "");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

export function groupReference(): string {
  const { properties = {}, description = "" } = groupSchema();
  const lines = [
    "# ProtectionGroup",
    "",
    "<!-- Generated from src/config/group.ts by `node src/config/write-crd.ts`. Do not edit. -->",
    "",
    `\`${groupApi.apiVersion}\`, cluster-scoped, short name \`${groupApi.shortName}\`. ${description}`,
    "",
    "Every value that differs between the sites is given per site, so that one spec renders in both directions.",
    "",
  ];
  for (const [name, schema] of Object.entries(properties)) {
    lines.push(`## ${name}`, "", schema.description ?? "", "", ...table(rowsOf(schema, name)), "");
    const rules = rulesOf(schema, name);
    if (rules.length > 0) lines.push(`Rules of \`${name}\`:`, "", ...rules, "");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

interface Row {
  readonly path: string;
  readonly type: string;
  readonly fallback: string;
  readonly description: string;
}

function table(rows: readonly Row[]): string[] {
  return [
    "| field | type | default | what it is |",
    "| --- | --- | --- | --- |",
    ...rows.map((row) => `| \`${row.path}\` | ${row.type} | ${row.fallback} | ${row.description} |`),
  ];
}

function rowsOf(schema: StructuralSchema, path: string): Row[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = path === "" ? name : `${path}.${name}`;
    const element = field.items ?? field.additionalProperties;
    return [rowOf(field, at, required.has(name)), ...rowsOf(element ?? field, pathOf(field, at))];
  });
}

function pathOf(field: StructuralSchema, path: string): string {
  if (field.items !== undefined) return `${path}[]`;
  return field.additionalProperties === undefined ? path : `${path}.*`;
}

function rowOf(field: StructuralSchema, path: string, isRequired: boolean): Row {
  const fallback =
    field.default === undefined ? (isRequired ? "required" : "") : `\`${JSON.stringify(field.default)}\``;
  return { path, type: typeOf(field), fallback, description: escape(field.description ?? "") };
}

function typeOf(field: StructuralSchema): string {
  if (field.enum !== undefined) return field.enum.map(String).join(", ");
  if (field.items !== undefined) return `list of ${typeOf(field.items)}`;
  if (field.additionalProperties !== undefined) return `map to ${typeOf(field.additionalProperties)}`;
  const variants = field["anyOf"] as readonly StructuralSchema[] | undefined;
  return field.type ?? variants?.map(typeOf).join(" or ") ?? "any";
}

const escape = (text: string) => text.replaceAll("|", "\\|");

function rulesOf(schema: StructuralSchema, path: string): string[] {
  const own = (schema["x-kubernetes-validations"] ?? []) as { message: string }[];
  const below = [
    ...Object.entries(schema.properties ?? {}).flatMap(([name, field]) => rulesOf(field, `${path}.${name}`)),
    ...(schema.items === undefined ? [] : rulesOf(schema.items, `${path}[]`)),
  ];
  return [...own.map((rule) => `- \`${path}\`: ${rule.message}`), ...below];
}
