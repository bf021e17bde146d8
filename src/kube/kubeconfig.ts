import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { LifeboatError, messageOf } from "../errors.ts";

/** Where the address and the credentials of an API server come from. */
export type KubeSource =
  | {
      readonly from: "files";
      /** As in KUBECONFIG: the first file that defines a name wins. */
      readonly paths: readonly string[];
      /** @default the `current-context` of the first file that sets one */
      readonly context?: string | undefined;
    }
  | {
      readonly from: "pod";
      readonly host: string;
      readonly port: string;
      /** Folder with `token`, `ca.crt` and `namespace`. @default {@link serviceAccountFolder} */
      readonly folder?: string | undefined;
    };

export const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/** A value given inline, or in a file that may be rotated under us. */
export type Material = { readonly file: string } | { readonly data: Buffer };

/** The part of a kubeconfig that one context names, checked. */
export interface KubeProfile {
  readonly context: string;
  /** Namespace of the context. @default "default" */
  readonly namespace: string;
  readonly server: string;
  readonly tlsServerName: string | undefined;
  readonly insecure: boolean;
  readonly proxyUrl: string | undefined;
  readonly ca: Material | undefined;
  readonly cert: Material | undefined;
  readonly key: Material | undefined;
  readonly token: Material | undefined;
  readonly basic: { readonly username: string; readonly password: string } | undefined;
  readonly impersonate: string | undefined;
  /** The user's entry where a program or an auth provider must be asked for credentials, else `undefined`. */
  readonly plugin: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Chooses the source as kubectl does: the flag, then KUBECONFIG, then a service account of the pod, then
 * `~/.kube/config`.
 */
export function kubeSourceFrom(
  env: Readonly<Record<string, string | undefined>>,
  flags: { kubeconfig?: string | undefined; context?: string | undefined } = {},
): KubeSource {
  const { context } = flags;
  if (flags.kubeconfig !== undefined) return { from: "files", paths: [flags.kubeconfig], context };
  const listed = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
  if (listed.length > 0) return { from: "files", paths: listed, context };
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  if (host !== undefined && port !== undefined && context === undefined) return { from: "pod", host, port };
  return { from: "files", paths: [join(env["HOME"] ?? "/root", ".kube", "config")], context };
}

/** Reads and checks a source. Throws KubeconfigInvalid, naming the file and what is wrong with it. */
export async function loadProfile(source: KubeSource): Promise<KubeProfile> {
  return source.from === "pod" ? podProfile(source) : fileProfile(source.paths, source.context);
}

async function podProfile(source: Extract<KubeSource, { from: "pod" }>): Promise<KubeProfile> {
  const folder = source.folder ?? serviceAccountFolder;
  const host = source.host.includes(":") ? `[${source.host}]` : source.host;
  const namespace = await readFile(join(folder, "namespace"), "utf8").catch((error: unknown) => {
    throw invalid(`no service account in ${folder}: ${messageOf(error)}`, {
      hint: "set automountServiceAccountToken, or give --kubeconfig",
      cause: error,
    });
  });
  return {
    context: "pod",
    namespace: namespace.trim() || "default",
    server: `https://${host}:${source.port}`,
    tlsServerName: undefined,
    insecure: false,
    proxyUrl: undefined,
    ca: { file: join(folder, "ca.crt") },
    cert: undefined,
    key: undefined,
    token: { file: join(folder, "token") },
    basic: undefined,
    impersonate: undefined,
    plugin: undefined,
  };
}

type Fields = Readonly<Record<string, unknown>>;
interface Entry {
  readonly fields: Fields;
  /** Relative paths in a kubeconfig are relative to the file they stand in. */
  readonly folder: string;
  readonly file: string;
}

interface Merged {
  readonly contexts: Map<string, Entry>;
  readonly clusters: Map<string, Entry>;
  readonly users: Map<string, Entry>;
  currentContext: string | undefined;
}

async function fileProfile(paths: readonly string[], context: string | undefined): Promise<KubeProfile> {
  const merged: Merged = { contexts: new Map(), clusters: new Map(), users: new Map(), currentContext: undefined };
  for (const path of paths) mergeFile(merged, resolve(path), await readKubeconfig(path));
  const name = context ?? merged.currentContext;
  if (name === undefined) {
    throw invalid(`no current-context in ${paths.join(", ")}`, { hint: "choose one with --context" });
  }
  const chosen = entryOf(merged.contexts, "context", name, paths);
  const cluster = entryOf(merged.clusters, "cluster", text(chosen, "cluster") ?? "", [chosen.file]);
  const userName = text(chosen, "user") ?? "";
  const user: Entry =
    userName === "" ? { ...chosen, fields: {} } : entryOf(merged.users, "user", userName, [chosen.file]);
  return profileOf(name, chosen, cluster, user);
}

async function readKubeconfig(path: string): Promise<Fields> {
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    throw invalid(`cannot read kubeconfig ${path}: ${messageOf(error)}`, {
      hint: "give the right path with --kubeconfig or in KUBECONFIG",
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = parse(content);
  } catch (error) {
    throw invalid(`kubeconfig ${path} is not YAML: ${messageOf(error)}`, { cause: error });
  }
  if (!isFields(value)) throw invalid(`kubeconfig ${path} is empty`, { hint: "is this the right file?" });
  return value;
}

function mergeFile(merged: Merged, file: string, config: Fields): void {
  const current = config["current-context"];
  if (typeof current === "string" && current !== "") merged.currentContext ??= current;
  for (const [list, item, into] of [
    ["contexts", "context", merged.contexts],
    ["clusters", "cluster", merged.clusters],
    ["users", "user", merged.users],
  ] as const) {
    const entries = config[list];
    for (const entry of Array.isArray(entries) ? (entries as unknown[]) : []) {
      if (!isFields(entry) || typeof entry["name"] !== "string" || into.has(entry["name"])) continue;
      const fields = entry[item];
      into.set(entry["name"], { fields: isFields(fields) ? fields : {}, folder: dirname(file), file });
    }
  }
}

function profileOf(name: string, context: Entry, cluster: Entry, user: Entry): KubeProfile {
  const server = text(cluster, "server");
  if (server === undefined || !URL.canParse(server)) {
    throw invalid(`cluster of context ${name} in ${cluster.file} has no usable server address`);
  }
  const username = text(user, "username");
  const tokenFile = text(user, "tokenFile");
  const token = text(user, "token");
  return {
    context: name,
    namespace: text(context, "namespace") ?? "default",
    server,
    tlsServerName: text(cluster, "tls-server-name"),
    insecure: cluster.fields["insecure-skip-tls-verify"] === true,
    proxyUrl: text(cluster, "proxy-url"),
    ca: material(cluster, "certificate-authority"),
    cert: material(user, "client-certificate"),
    key: material(user, "client-key"),
    token:
      tokenFile !== undefined
        ? { file: resolve(user.folder, tokenFile) }
        : token === undefined
          ? undefined
          : { data: Buffer.from(token) },
    basic: username === undefined ? undefined : { username, password: text(user, "password") ?? "" },
    impersonate: text(user, "as"),
    plugin: isFields(user.fields["exec"]) || isFields(user.fields["auth-provider"]) ? user.fields : undefined,
  };
}

/** `NAME-data` (base64) goes before `NAME` (a path), as in kubectl. */
function material(entry: Entry, name: string): Material | undefined {
  const data = text(entry, `${name}-data`);
  if (data !== undefined) return { data: Buffer.from(data, "base64") };
  const file = text(entry, name);
  return file === undefined ? undefined : { file: resolve(entry.folder, file) };
}

function entryOf(entries: Map<string, Entry>, what: string, name: string, where: readonly string[]): Entry {
  const entry = entries.get(name);
  if (entry !== undefined) return entry;
  const known = [...entries.keys()].join(", ") || "none";
  throw invalid(`no ${what} ${JSON.stringify(name)} in ${where.join(", ")}`, { hint: `${what}s there: ${known}` });
}

function text(entry: Entry, field: string): string | undefined {
  const value = entry.fields[field];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function invalid(message: string, details: { hint?: string; cause?: unknown } = {}): LifeboatError {
  return new LifeboatError("KubeconfigInvalid", message, { op: "kube.connect", ...details });
}
