/** Reading JSON of which nothing is known: every step yields `undefined`, an empty list or an empty record. */
export type Json = unknown;

export function isRecord(value: Json): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function at(value: Json, field: string): Json {
  return isRecord(value) ? value[field] : undefined;
}

/** A text field that is not empty. */
export function text(value: Json, field: string): string | undefined {
  const found = at(value, field);
  return typeof found === "string" && found !== "" ? found : undefined;
}

export function list(value: Json): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

export function record(value: Json): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
