import { Agent, request as requestHttps } from "node:https";
import { Agent as PlainAgent, request as requestHttp, type RequestOptions } from "node:http";
import * as z from "zod";
import { onAbort } from "../abort.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import type { Register, RegisterValue } from "./register.ts";
import { full } from "./store-errors.ts";
import type { StoreOptions } from "./store.ts";

/** etcd refuses requests above 1.5 MiB by default; base64 adds a third to ours. */
const textLengthMax = 1024 * 1024;

/** Longer than an election of etcd's leader takes by default, within which a member holds requests back. */
const requestTimeoutMs = 2000;

/** A read of one value of the largest size, as base64 in JSON. */
const answerBytesMax = 4 * 1024 * 1024;

export interface EtcdRegisterOptions {
  /** `http://host:port` or `https://host:port` of some or all members. */
  readonly endpoints: readonly string[];
  readonly key: string;
  /** PEM; for https. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

const rangeAnswer = z.object({
  kvs: z.array(z.object({ value: z.string().optional(), mod_revision: z.string() })).default([]),
});
const txnAnswer = z.object({
  succeeded: z.boolean().default(false),
  header: z.object({ revision: z.string() }),
});

/**
 * One key of an etcd cluster as a register: its modification revision is the version. Range and Txn of etcd's JSON
 * gateway, which are linearizable by default; never its leases or elections.
 */
export class EtcdRegister implements Register {
  readonly #options: EtcdRegisterOptions;
  readonly #agent: Agent;
  readonly #plainAgent = new PlainAgent({ keepAlive: true });
  #member = 0;

  constructor(options: EtcdRegisterOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, ...options.tls });
  }

  get place(): string {
    return `etcd key ${this.#options.key} at ${this.#options.endpoints.join(", ")}`;
  }

  async read(options: StoreOptions): Promise<RegisterValue | null> {
    const { kvs } = rangeAnswer.parse(await this.#call("kv/range", { key: this.#key }, options));
    const [found] = kvs;
    if (found === undefined) return null;
    return { version: found.mod_revision, text: Buffer.from(found.value ?? "", "base64").toString("utf8") };
  }

  async version(options: StoreOptions): Promise<string | null> {
    const { kvs } = rangeAnswer.parse(await this.#call("kv/range", { key: this.#key, keys_only: true }, options));
    return kvs[0]?.mod_revision ?? null;
  }

  async replace(expected: string | null, text: string, options: StoreOptions): Promise<string | undefined> {
    if (text.length > textLengthMax) throw full(this.place, "witness.replace");
    const value = Buffer.from(text).toString("base64");
    const body = {
      compare: [{ key: this.#key, target: "MOD", result: "EQUAL", mod_revision: expected ?? "0" }],
      success: [{ request_put: { key: this.#key, value } }],
    };
    const { succeeded, header } = txnAnswer.parse(await this.#call("kv/txn", body, options));
    return succeeded ? header.revision : undefined;
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    this.#plainAgent.destroy();
  }

  get #key(): string {
    return Buffer.from(this.#options.key).toString("base64");
  }

  /** One attempt at one member; the next call goes to the next one when it fails. */
  async #call(path: string, body: object, { signal }: StoreOptions): Promise<unknown> {
    const { endpoints } = this.#options;
    const endpoint = endpoints[this.#member % endpoints.length] ?? "";
    try {
      const { status, text } = await this.#post(new URL(`/v3/${path}`, endpoint), JSON.stringify(body), signal);
      if (status === 200) return JSON.parse(text);
      if (text.includes("database space exceeded")) throw full(this.place, `etcd.${path}`);
      throw new Error(`${status} ${text.slice(0, 200)}`);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof LifeboatError) throw cause;
      this.#member++;
      throw new LifeboatError("WitnessStoreUnreachable", `etcd at ${endpoint}: ${messageOf(cause)}`, {
        op: `etcd.${path}`,
        retryable: true,
        cause,
      });
    }
  }

  async #post(url: URL, body: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
    const secure = url.protocol === "https:";
    const options: RequestOptions = {
      method: "POST",
      headers: { "content-type": "application/json" },
      agent: secure ? this.#agent : this.#plainAgent,
    };
    const request = secure ? requestHttps(url, options) : requestHttp(url, options);
    using _abort = onAbort(signal, (reason) => request.destroy(reason instanceof Error ? reason : undefined));
    const timer = setTimeout(
      () => request.destroy(new Error(`no answer within ${requestTimeoutMs} ms`)),
      requestTimeoutMs,
    );
    const answer = Promise.withResolvers<{ status: number; text: string }>();
    request.on("error", answer.reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > answerBytesMax) request.destroy(new Error("the answer is too large"));
        chunks.push(chunk);
      });
      response.on("error", answer.reject);
      response.on("end", () =>
        answer.resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    request.end(body);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
