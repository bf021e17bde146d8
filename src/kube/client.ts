import type { Readable } from "node:stream";
import { linkedAbort, orAborted } from "../abort.ts";
import { systemClock, type Clock } from "../clock.ts";
import { hasCode, LifeboatError } from "../errors.ts";
import { parseJson } from "../objects/json.ts";
import type { KubeObject } from "../objects/object.ts";
import { loadProfile, type KubeSource } from "./kubeconfig.ts";
import { Readiness } from "./readiness.ts";
import { pathOf, type KubeResource, type ObjectPlace, placeOf } from "./resource.ts";
import { errorOfStatus, errorOfTransport, parseStatus } from "./status.ts";
import { Transport, type HttpAnswer, type HttpRequest } from "./transport.ts";

/** @default for every request that is not a watch; an API server gives up on its own after 60 s. */
export const requestTimeoutMs = 30_000;
/** A server that says "too many requests" is asked again so often before the caller hears of it. */
const busyRetriesMaxCount = 4;
/** The pause that a busy server asks for is honoured up to this. */
const busyPauseMaxMs = 5_000;
/** Objects of one page of a list: about 500 KB of text at 2 KB an object, in memory as text and parsed at once. */
export const pageCount = 250;

export type QueryValue = string | number | boolean | undefined;

export interface RequestOptions {
  /** Parameters with value `undefined` are left out. */
  readonly query?: Readonly<Record<string, QueryValue>>;
  readonly body?: string;
  /** @default "application/json" */
  readonly contentType?: string;
  /** @default "application/json" */
  readonly accept?: string;
  /** For the whole request, its answer included. @default {@link requestTimeoutMs} */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

export interface WriteOptions {
  /** Field manager under which the fields are owned. */
  readonly fieldManager: string;
  /** The server does everything but store it. @default false */
  readonly dryRun?: boolean;
  /** What happens with fields that the kind's schema does not have. @default "Ignore": dropped without a word */
  readonly fieldValidation?: "Ignore" | "Warn" | "Strict";
  readonly subresource?: string;
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

export interface ApplyOptions extends WriteOptions {
  /** Takes fields over from other managers instead of failing with reason `Conflict`. @default false */
  readonly force?: boolean;
}

export interface DeleteOptions {
  /** Refused with reason `Conflict` unless the object still has this UID or version. */
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  /** @default the kind's own default */
  readonly propagation?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
  readonly dryRun?: boolean;
  readonly signal: AbortSignal;
}

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** @default {@link pageCount} */
  readonly pageCount?: number;
  /** Items carry their metadata alone. @default false */
  readonly metadataOnly?: boolean;
  readonly signal: AbortSignal;
}

export interface ListPage {
  /** The moment of the list, the same for all its pages. */
  readonly resourceVersion: string;
  /** `apiVersion` and `kind` are filled in where the server leaves them out of lists. */
  readonly items: KubeObject[];
  readonly last: boolean;
}

export type PatchType = "merge" | "json" | "strategic";

const patchContentTypes: Readonly<Record<PatchType, string>> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

export interface ConnectOptions {
  /** @default systemClock */
  readonly clock?: Clock;
}

/** A client for one API server. Nothing is sent yet; throws KubeconfigInvalid where the source is unusable. */
export async function connect(source: KubeSource, options: ConnectOptions = {}): Promise<KubeClient> {
  const profile = await loadProfile(source);
  const clock = options.clock ?? systemClock;
  return new KubeClient(new Transport(profile, clock), profile.namespace, clock);
}

/**
 * Raw JSON to and from one API server over pooled connections. Every method rejects with a LifeboatError:
 * KubeUnreachable (network), KubeconfigInvalid (credentials, trust), KubeForbidden (RBAC), NotFound (404), Timeout,
 * else KubeRejected; where the API server answered, `cause` is its {@link KubeStatus}.
 */
export class KubeClient {
  /** Address of the API server. */
  readonly server: string;
  /** Namespace of the kubeconfig's context, or of the pod. */
  readonly namespace: string;
  /** Of the API server, where somebody asks it: nobody is woken otherwise. */
  readonly readiness = new Readiness();
  readonly #transport: Transport;
  readonly #clock: Clock;

  constructor(transport: Transport, namespace: string, clock: Clock) {
    this.server = transport.server;
    this.namespace = namespace;
    this.#clock = clock;
    this.#transport = transport;
  }

  /** Text of the answer's body. */
  async request(method: HttpRequest["method"], path: string, options: RequestOptions): Promise<string> {
    const op = `${method} ${path}`;
    const work = async (signal: AbortSignal): Promise<string> => {
      for (let attempt = 0; ; attempt++) {
        const answer = await this.#send(op, { ...httpRequest(method, path, options), signal, endless: false });
        const body = await this.#text(op, answer);
        if (answer.code < 300) return body;
        const status = parseStatus(answer.code, body, header(answer, "retry-after"));
        if (answer.code !== 429 || attempt >= busyRetriesMaxCount) throw errorOfStatus(op, status);
        await this.#clock.sleep(Math.min((status.retryAfterSeconds ?? 1) * 1000, busyPauseMaxMs), { signal });
      }
    };
    try {
      return await withDeadline(op, options.timeoutMs ?? requestTimeoutMs, options.signal, work);
    } catch (error) {
      if (hasCode(error, "Timeout")) this.#transport.renewConnections();
      throw error;
    }
  }

  /** Parsed answer; numbers that JavaScript cannot hold survive a `JSON.stringify`. */
  async requestJson(method: HttpRequest["method"], path: string, options: RequestOptions): Promise<unknown> {
    return parseJson(await this.request(method, path, options));
  }

  /** Body of an endless answer (a watch), as it comes; it fails when `signal` aborts. Only its head has a timeout. */
  async stream(path: string, options: Pick<RequestOptions, "query" | "accept" | "signal">): Promise<Readable> {
    const op = `WATCH ${path}`;
    options.signal.throwIfAborted();
    const scope = linkedAbort(options.signal);
    const timer = setTimeout(() => {
      scope.abort(new LifeboatError("Timeout", `no answer within ${requestTimeoutMs} ms`, { op, retryable: true }));
    }, requestTimeoutMs);
    try {
      const request = { ...httpRequest("GET", path, options), signal: scope.signal, endless: true };
      const answer = await this.#send(op, request);
      if (answer.code >= 300) {
        throw errorOfStatus(op, parseStatus(answer.code, await this.#text(op, answer), header(answer, "retry-after")));
      }
      answer.body.once("close", () => scope[Symbol.dispose]());
      return answer.body;
    } catch (error) {
      scope[Symbol.dispose]();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async get(resource: KubeResource, place: ObjectPlace, options: { signal: AbortSignal }): Promise<KubeObject> {
    return (await this.requestJson("GET", pathOf(resource, place), options)) as KubeObject;
  }

  /** Like {@link get}, but `undefined` where the object does not exist. */
  async find(
    resource: KubeResource,
    place: ObjectPlace,
    options: { signal: AbortSignal },
  ): Promise<KubeObject | undefined> {
    try {
      return await this.get(resource, place, options);
    } catch (error) {
      if (hasCode(error, "NotFound")) return undefined;
      throw error;
    }
  }

  async create(resource: KubeResource, object: KubeObject, options: WriteOptions): Promise<KubeObject> {
    const { namespace } = object.metadata;
    const path = pathOf(resource, { namespace, subresource: undefined });
    return this.#write("POST", path, JSON.stringify(object), "application/json", options);
  }

  /** Replaces the whole object; fails with reason `Conflict` where `metadata.resourceVersion` is not the present one. */
  async put(resource: KubeResource, object: KubeObject, options: WriteOptions): Promise<KubeObject> {
    const path = pathOf(resource, { ...placeOf(object), subresource: options.subresource });
    return this.#write("PUT", path, JSON.stringify(object), "application/json", options);
  }

  async patch(
    resource: KubeResource,
    place: ObjectPlace,
    patch: { readonly type: PatchType; readonly body: unknown },
    options: WriteOptions,
  ): Promise<KubeObject> {
    const path = pathOf(resource, { ...place, subresource: options.subresource });
    return this.#write("PATCH", path, JSON.stringify(patch.body), patchContentTypes[patch.type], options);
  }

  /** Server-side apply. Answers with the object as stored. */
  async apply(resource: KubeResource, object: KubeObject, options: ApplyOptions): Promise<KubeObject> {
    const path = pathOf(resource, { ...placeOf(object), subresource: options.subresource });
    return this.#write("PATCH", path, JSON.stringify(object), "application/apply-patch+yaml", options, {
      force: options.force === true ? true : undefined,
    });
  }

  /** Resolves with `false` where there was nothing to delete. An object with finalizers is only marked. */
  async delete(resource: KubeResource, place: ObjectPlace, options: DeleteOptions): Promise<boolean> {
    const preconditions =
      options.uid === undefined && options.resourceVersion === undefined
        ? undefined
        : { uid: options.uid, resourceVersion: options.resourceVersion };
    const body = JSON.stringify({
      apiVersion: "v1",
      kind: "DeleteOptions",
      preconditions,
      propagationPolicy: options.propagation,
      gracePeriodSeconds: options.gracePeriodSeconds,
      dryRun: options.dryRun === true ? ["All"] : undefined,
    });
    try {
      await this.request("DELETE", pathOf(resource, place), { body, signal: options.signal });
      return true;
    } catch (error) {
      if (hasCode(error, "NotFound")) return false;
      throw error;
    }
  }

  /**
   * The pages of a list, all of one moment. Rejects with reason `Expired` where the server forgot that moment
   * between two pages.
   */
  async *list(resource: KubeResource, options: ListOptions): AsyncGenerator<ListPage, void, undefined> {
    let token: string | undefined;
    do {
      const text = await this.request("GET", pathOf(resource, { namespace: options.namespace }), {
        query: {
          limit: options.pageCount ?? pageCount,
          continue: token,
          labelSelector: options.labelSelector,
          fieldSelector: options.fieldSelector,
        },
        ...(options.metadataOnly === true ? { accept: metadataListType } : {}),
        timeoutMs: listTimeoutMs,
        signal: options.signal,
      });
      const page = parseJson(text) as RawList;
      token = page.metadata.continue === "" ? undefined : page.metadata.continue;
      const kind = page.kind.replace(/List$/, "");
      yield {
        resourceVersion: page.metadata.resourceVersion ?? "",
        items: (page.items ?? []).map((item) => ({ ...item, apiVersion: page.apiVersion, kind })),
        last: token === undefined,
      };
    } while (token !== undefined);
  }

  /** `gitVersion` of the server, e.g. `v1.36.4`. */
  async version(options: { signal: AbortSignal }): Promise<string> {
    const answer = (await this.requestJson("GET", "/version", options)) as { gitVersion?: string };
    return answer.gitVersion ?? "";
  }

  /** Drops all connections; running requests and watches fail. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #write(
    method: HttpRequest["method"],
    path: string,
    body: string,
    contentType: string,
    options: WriteOptions,
    query: Readonly<Record<string, QueryValue>> = {},
  ): Promise<KubeObject> {
    return (await this.requestJson(method, path, {
      query: {
        fieldManager: options.fieldManager,
        dryRun: options.dryRun === true ? "All" : undefined,
        fieldValidation: options.fieldValidation ?? "Ignore",
        ...query,
      },
      body,
      contentType,
      signal: options.signal,
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    })) as KubeObject;
  }

  async #send(op: string, request: HttpRequest): Promise<HttpAnswer> {
    try {
      return await this.#transport.send(request);
    } catch (error) {
      request.signal.throwIfAborted();
      throw errorOfTransport(op, this.server, error);
    }
  }

  async #text(op: string, answer: HttpAnswer): Promise<string> {
    try {
      return await answer.body.text();
    } catch (error) {
      throw errorOfTransport(op, this.server, error);
    }
  }
}

/** A page of 500 large objects over a slow link takes longer than an ordinary request. */
const listTimeoutMs = 60_000;

const metadataListType = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

interface RawList {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: KubeObject[] | null;
}

function httpRequest(
  method: HttpRequest["method"],
  path: string,
  options: RequestOptions,
): Omit<HttpRequest, "signal" | "endless"> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined) query.set(name, String(value));
  }
  const search = query.size === 0 ? "" : `?${query.toString()}`;
  const headers: Record<string, string> = { accept: options.accept ?? "application/json", "user-agent": "lifeboat" };
  if (options.body !== undefined) headers["content-type"] = options.contentType ?? "application/json";
  return { method, path: `${path}${search}`, headers, body: options.body };
}

function header(answer: HttpAnswer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Runs `work` with a signal that aborts with `signal` or, as Timeout, after `timeoutMs`. */
async function withDeadline<T>(
  op: string,
  timeoutMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  using scope = linkedAbort(signal);
  const timer = setTimeout(() => {
    scope.abort(new LifeboatError("Timeout", `no answer within ${timeoutMs} ms`, { op, retryable: true }));
  }, timeoutMs);
  try {
    // Also where what hangs is not the request, but a program or a file that credentials come from.
    return await orAborted(work(scope.signal), scope);
  } catch (error) {
    scope.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
