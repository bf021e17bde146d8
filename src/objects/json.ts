/**
 * JSON text of the API server to values and back without loss. A number that JavaScript cannot hold exactly (an
 * integer beyond 2^53, `1.0`, `1e3`) becomes a `JSON.rawJSON` value, which `JSON.stringify` writes as it was.
 */

/**
 * A reviver that sees each number's source text costs six times a plain parse, so it is used only where this finds
 * a number that might not survive: 16 or more digits, a fraction or an exponent. Matches inside strings are
 * harmless: they only cost time.
 */
const suspiciousNumber = /[:[,]\s*-?(?:\d{16}|\d+[.eE])/;

type RawJson = (text: string) => unknown;
const rawJson = (JSON as unknown as { rawJSON: RawJson }).rawJSON;

/** Parses `text`; throws SyntaxError on malformed JSON. */
export function parseJson(text: string): unknown {
  if (!suspiciousNumber.test(text)) return JSON.parse(text);
  return JSON.parse(
    text,
    function keepNumber(this: unknown, _key: string, value: unknown, context?: { source?: string }) {
      if (typeof value !== "number" || context?.source === undefined) return value;
      return String(value) === context.source ? value : rawJson(context.source);
    },
  );
}

/**
 * JSON text with the keys of every object in code-point order, so that equal values have equal text whatever order
 * an API server wrote them in. Keys with value `undefined` are left out, as in `JSON.stringify`.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(",")}]`;
  }
  if (value === null || typeof value !== "object" || isRawJson(value)) return JSON.stringify(value);
  const fields: string[] = [];
  const record = value as Record<string, unknown>;
  for (const name of Object.keys(record).sort()) {
    const item = record[name];
    if (item !== undefined) fields.push(`${JSON.stringify(name)}:${canonicalJson(item)}`);
  }
  return `{${fields.join(",")}}`;
}

/** Whether `value` is a number kept as text, see {@link parseJson}. */
export function isRawJson(value: object): boolean {
  return (JSON as unknown as { isRawJSON: (value: unknown) => boolean }).isRawJSON(value);
}

/** A deep copy that keeps raw numbers (which `structuredClone` would turn into plain objects). */
export function cloneJson<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item: unknown) => cloneJson(item)) as T;
  if (value === null || typeof value !== "object" || isRawJson(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) copy[name] = cloneJson(item);
  return copy as T;
}
