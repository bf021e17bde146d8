import { Pool, ProxyAgent, Socks5ProxyAgent, type Dispatcher } from "undici";
import type { Readable } from "node:stream";
import type { Clock } from "../clock.ts";
import { CredentialResolver, sameConnection, type Credentials } from "./credentials.ts";
import type { KubeProfile } from "./kubeconfig.ts";

/** Requests beyond this many wait in line: more connections than this gain nothing at one API server. */
const connectionsMaxCount = 16;
/** Below the API server's own idle limit of 90 s, so that we close first and no request meets a closed socket. */
const keepAliveMs = 60_000;
const connectTimeoutMs = 10_000;
/** Files and plugins are asked again after this long; a token of a pod is rotated long before it expires. */
const credentialsMaxAgeMs = 30_000;
/** Refused credentials are not resolved anew more often than this, however many requests are refused. */
const rejectedRetryMs = 5_000;

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path with query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
  /** Watches have connections of their own, so that they never hold those of requests. */
  readonly endless: boolean;
}

export interface HttpAnswer {
  readonly code: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read to its end or destroyed. */
  readonly body: Readable & { text(): Promise<string> };
}

interface Connections {
  readonly credentials: Credentials;
  readonly requests: Dispatcher;
  readonly watches: Dispatcher;
  readonly resolvedAt: number;
}

/** Pooled connections to one API server under credentials that rotate. */
export class Transport {
  /** Origin and path prefix of the API server, without a slash at the end. */
  readonly server: string;
  readonly #origin: string;
  readonly #prefix: string;
  readonly #profile: KubeProfile;
  readonly #resolver: CredentialResolver;
  readonly #clock: Clock;
  #state: Connections | undefined;
  #resolving: Promise<void> | undefined;
  #closed = false;

  constructor(profile: KubeProfile, clock: Clock) {
    const url = new URL(profile.server);
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/+$/, "");
    this.server = `${this.#origin}${this.#prefix}`;
    this.#profile = profile;
    this.#resolver = new CredentialResolver(profile, clock);
    this.#clock = clock;
  }

  async send(request: HttpRequest): Promise<HttpAnswer> {
    const answer = await this.#sendOnce(request);
    if (answer.code !== 401) return answer;
    await answer.body.text();
    await this.#renew(true);
    return this.#sendOnce(request);
  }

  /** From now on requests take new connections: one that has gone silent may not be the only one. */
  renewConnections(): void {
    if (this.#state === undefined) return;
    const old = this.#state.requests;
    this.#state = { ...this.#state, requests: this.#dispatcher(this.#state.credentials, connectionsMaxCount) };
    void old.close();
  }

  /** Closes the connections; running requests fail. */
  async close(): Promise<void> {
    this.#closed = true;
    const state = this.#state;
    this.#state = undefined;
    await Promise.all([state?.requests.destroy(), state?.watches.destroy()]);
  }

  async #sendOnce(request: HttpRequest): Promise<HttpAnswer> {
    const state = await this.#ready();
    const dispatcher = request.endless ? state.watches : state.requests;
    const answer = await dispatcher.request({
      origin: this.#origin,
      method: request.method,
      path: `${this.#prefix}${request.path}`,
      headers: { ...request.headers, ...state.credentials.headers },
      body: request.body ?? null,
      signal: request.signal,
    });
    return { code: answer.statusCode, headers: answer.headers, body: answer.body };
  }

  async #ready(): Promise<Connections> {
    const aged = this.#state === undefined || this.#clock.monotonicMs() - this.#state.resolvedAt > credentialsMaxAgeMs;
    if (aged && !this.#closed) await this.#renew(false);
    if (this.#state === undefined) throw new Error("the connection is closed");
    return this.#state;
  }

  /** One resolution at a time, shared by all that wait for it. */
  async #renew(rejected: boolean): Promise<void> {
    if (rejected && this.#state !== undefined && this.#clock.monotonicMs() - this.#state.resolvedAt < rejectedRetryMs)
      return;
    this.#resolving ??= this.#resolve(rejected).finally(() => {
      this.#resolving = undefined;
    });
    await this.#resolving;
  }

  async #resolve(rejected: boolean): Promise<void> {
    const credentials = await this.#resolver.resolve(rejected);
    if (this.#closed) return;
    const previous = this.#state;
    const resolvedAt = this.#clock.monotonicMs();
    if (previous !== undefined && sameConnection(previous.credentials, credentials)) {
      this.#state = { ...previous, credentials, resolvedAt };
      return;
    }
    const requests = this.#dispatcher(credentials, connectionsMaxCount);
    const watches = this.#dispatcher(credentials, null);
    this.#state = { credentials, requests, watches, resolvedAt };
    // What runs on the old connections ends by itself: requests soon, watches with their timeout.
    void previous?.requests.close();
    void previous?.watches.close();
  }

  #dispatcher(credentials: Credentials, connections: number | null): Dispatcher {
    const { ca, cert, key, servername, rejectUnauthorized } = credentials.tls;
    const tls = {
      rejectUnauthorized,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
    };
    const options = {
      connections,
      allowH2: false,
      // Timeouts are the caller's: a request has one as a whole, a watch is supervised by its bookmarks.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
    };
    const connect = { ...tls, timeout: connectTimeoutMs, keepAlive: true, keepAliveInitialDelay: 10_000 };
    const proxy = this.#profile.proxyUrl;
    if (proxy === undefined) return new Pool(this.#origin, { ...options, connect });
    if (proxy.startsWith("socks")) return new Socks5ProxyAgent(proxy, { ...options, requestTls: connect });
    return new ProxyAgent({ ...options, uri: proxy, requestTls: connect });
  }
}
