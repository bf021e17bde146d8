import { pino, type DestinationStream, type Logger } from "pino";
import { LifeboatError } from "../errors.ts";

/**
 * Logs are lines of JSON: a constant message and fields (`{site, group, key, seq}`), so that they can be counted and
 * filtered. Objects of the API server are never logged; {@link redact} is the net below that rule.
 */
export type Log = Pick<Logger, "trace" | "debug" | "info" | "warn" | "error" | "fatal"> & {
  child(fields: Record<string, unknown>): Log;
};

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface LogOptions {
  /** @default "info" */
  readonly level?: LogLevel;
  /** Fields of every line, e.g. `{site: "east"}`. */
  readonly fields?: Record<string, unknown>;
  /** @default standard output */
  readonly destination?: DestinationStream;
}

export function createLog(options: LogOptions = {}): Log {
  const settings = {
    level: options.level ?? "info",
    base: options.fields ?? {},
    timestamp: pinoTime,
    formatters: { level: (label: string) => ({ level: label }), log: redact },
    serializers: { err: (value: unknown) => value, error: (value: unknown) => value },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** Times are written as people and log collectors read them. */
const pinoTime = () => `,"time":"${new Date().toISOString()}"`;

/** A log that writes nothing. */
export const silentLog: Log = pino({ level: "silent" });

/** Deeper than any field that we log; below it a placeholder is written, which bounds the cost of a line. */
const depthMax = 6;
/** Longer texts are cut: a log line is no place for a manifest. */
const textLengthMax = 2048;
const redacted = "[redacted]";

/** Names of fields whose values are credentials wherever they stand. */
const secretNames = /^(?:token|password|passwd|secret|privateKey|private_key|keyPem|authorization|client-key-data)$/i;

/** Fields of an object that may hold a Secret's values, under any of the names the API gives them. */
const secretFields = ["data", "stringData", "binaryData", "fieldsV1"];

/**
 * A copy of `value` fit for a log line: the values of a Secret and of fields named like credentials are replaced,
 * also where a manifest travels as text; errors become {@link safeError}; long texts are cut.
 */
export function redact(value: Record<string, unknown>): Record<string, unknown> {
  return redactFields(value, 0);
}

function redactFields(value: object, depth: number): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const secret = isSecret(value);
  for (const [name, item] of Object.entries(value)) {
    const hide = secretNames.test(name) || (secret && (secretFields.includes(name) || name === "metadata"));
    result[name] = hide ? redacted : redactValue(item, depth + 1);
  }
  return result;
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Error) return safeError(value);
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`;
  if (depth > depthMax) return "[deep]";
  if (Array.isArray(value)) return value.map((item) => redactValue(item, depth + 1));
  return redactFields(value, depth);
}

/** A Secret says so in `kind`; its metadata is hidden too, since `last-applied` annotations repeat its values. */
function isSecret(value: object): boolean {
  return "kind" in value && value.kind === "Secret";
}

const secretText = /"kind"\s*:\s*"Secret"|(?:^|\n)kind:\s*Secret|PRIVATE KEY-----|\bBearer\s+\S/;

function redactText(text: string): string {
  if (secretText.test(text)) return redacted;
  return text.length <= textLengthMax ? text : `${text.slice(0, textLengthMax)}… (${text.length} characters)`;
}

export interface SafeError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly op?: string;
  readonly hint?: string;
  readonly stack?: string;
  readonly cause?: SafeError;
}

/** How far a chain of causes is followed. */
const causesMax = 4;

/**
 * An error as fields of a log line: no properties but the known ones (a client's error may carry the whole request
 * or response), and a stack only where the error is a defect.
 */
export function safeError(error: unknown, depth = 0): SafeError {
  if (!(error instanceof Error)) return { type: typeof error, message: redactText(String(error)) };
  const expected = error instanceof LifeboatError && error.code !== "Internal";
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  return {
    type: error.name,
    message: redactText(error.message),
    ...(code === undefined ? {} : { code }),
    ...(error instanceof LifeboatError && error.op !== undefined ? { op: error.op } : {}),
    ...(error instanceof LifeboatError && error.hint !== undefined ? { hint: error.hint } : {}),
    ...(expected || error.stack === undefined || depth > 0 ? {} : { stack: redactText(error.stack) }),
    ...(error.cause === undefined || depth >= causesMax ? {} : { cause: safeError(error.cause, depth + 1) }),
  };
}
