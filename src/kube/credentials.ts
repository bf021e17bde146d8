import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { RequestOptions } from "node:https";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import { invalid, type KubeProfile, type Material } from "./kubeconfig.ts";

/** What a connection and its requests carry to prove who they are. */
export interface Credentials {
  readonly tls: TlsMaterial;
  /** `authorization`, `impersonate-user`. Never logged. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly servername: string | undefined;
  readonly rejectUnauthorized: boolean;
}

/** Resolves a profile to credentials, anew each time, since files, tokens and plugins' answers are rotated. */
export class CredentialResolver {
  readonly #profile: KubeProfile;
  readonly #clock: Clock;
  #plugin: Plugin | undefined;

  constructor(profile: KubeProfile, clock: Clock) {
    this.#profile = profile;
    this.#clock = clock;
  }

  /**
   * Present credentials. `rejected` says that the API server did not accept the last ones, so that a plugin's cached
   * answer is dropped. Throws KubeconfigInvalid where a file is missing or a certificate has expired.
   */
  async resolve(rejected: boolean): Promise<Credentials> {
    const profile = this.#profile;
    if (rejected) this.#plugin = undefined;
    const fromPlugin = profile.plugin === undefined ? noAnswer : await this.#askPlugin(profile.plugin);
    const cert = fromPlugin.cert ?? (await read(profile.cert, "client certificate"));
    if (cert !== undefined) this.#checkExpiry(cert);
    const token = await read(profile.token, "token");
    const headers: Record<string, string> = {};
    if (profile.basic !== undefined) {
      const { username, password } = profile.basic;
      headers["authorization"] = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    }
    if (fromPlugin.authorization !== undefined) headers["authorization"] = fromPlugin.authorization;
    if (token !== undefined) headers["authorization"] = `Bearer ${token.trim()}`;
    if (profile.impersonate !== undefined) headers["impersonate-user"] = profile.impersonate;
    return {
      headers,
      tls: {
        ca: await read(profile.ca, "certificate authority"),
        cert,
        key: fromPlugin.key ?? (await read(profile.key, "client key")),
        servername: profile.tlsServerName,
        rejectUnauthorized: !profile.insecure,
      },
    };
  }

  #checkExpiry(pem: string): void {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(pem);
    } catch (error) {
      throw invalid(`client certificate of context ${this.#profile.context} is not a certificate`, { cause: error });
    }
    if (certificate.validToDate.getTime() > this.#clock.wallMs()) return;
    throw invalid(
      `client certificate of context ${this.#profile.context} expired on ${certificate.validToDate.toISOString()}`,
      { hint: "renew the certificate or log in again" },
    );
  }

  async #askPlugin(user: Readonly<Record<string, unknown>>): Promise<PluginAnswer> {
    try {
      this.#plugin ??= await loadPlugin(this.#profile, user);
      return await this.#plugin();
    } catch (error) {
      throw invalid(`the credential plugin of context ${this.#profile.context} failed: ${messageOf(error)}`, {
        cause: error,
        hint: "run it by hand as the kubeconfig says; it must be installed and logged in",
      });
    }
  }
}

interface PluginAnswer {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly authorization: string | undefined;
}
const noAnswer: PluginAnswer = { cert: undefined, key: undefined, authorization: undefined };
type Plugin = () => Promise<PluginAnswer>;

/**
 * The client library is loaded only here, for the users that need one of its credential plugins (exec, OIDC and
 * cloud providers): it costs 0.4 s and 80 MiB, which an agent inside a cluster never needs.
 */
async function loadPlugin(profile: KubeProfile, user: Readonly<Record<string, unknown>>): Promise<Plugin> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "cluster", server: profile.server, skipTLSVerify: true }],
    users: [{ name: "user", exec: user["exec"], authProvider: user["auth-provider"] }],
    contexts: [{ name: "context", cluster: "cluster", user: "user" }],
    currentContext: "context",
  });
  return async () => {
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const headers = options.headers as Record<string, string> | undefined;
    return {
      cert: pem(options.cert),
      key: pem(options.key),
      authorization: headers?.["Authorization"],
    };
  };
}

/** Plugins answer with PEM as text; files and inline data of the same user come as buffers. */
function pem(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return Buffer.isBuffer(value) ? value.toString("utf8") : undefined;
}

async function read(material: Material | undefined, what: string): Promise<string | undefined> {
  if (material === undefined) return undefined;
  if ("data" in material) return material.data.toString("utf8");
  try {
    return await readFile(material.file, "utf8");
  } catch (error) {
    throw invalid(`cannot read the ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether two credentials need connections of their own (headers alone do not). */
export function sameConnection(a: Credentials, b: Credentials): boolean {
  return JSON.stringify(a.tls) === JSON.stringify(b.tls);
}
