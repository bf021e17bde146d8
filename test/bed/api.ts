import { Agent, request } from "node:https";
import { LifeboatError } from "../../src/errors.ts";
import type { KeyPair } from "./certificates.ts";

/** One API server answers within milliseconds; this bounds a server that hangs. */
const requestLimitMs = 10_000;

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
}

/** The few requests that the bed itself makes to an API server. Tests and agents use clients of their own. */
export interface Api {
  request(method: string, path: string, body?: unknown): Promise<ApiAnswer>;
  close(): void;
}

export function connectApi(server: string, caPem: string, credential: KeyPair): Api {
  const agent = new Agent({ keepAlive: true, ca: caPem, cert: credential.certPem, key: credential.keyPem });
  return {
    async request(method, path, body) {
      return new Promise((resolve, reject) => {
        const payload = body === undefined ? undefined : JSON.stringify(body);
        const headers = payload === undefined ? {} : { "content-type": "application/json" };
        const call = request(`${server}${path}`, { method, agent, headers, timeout: requestLimitMs }, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
          );
        });
        call.on("timeout", () => call.destroy(new Error(`no answer in ${requestLimitMs} ms`)));
        call.on("error", (cause) =>
          reject(
            new LifeboatError("KubeUnreachable", `${method} ${server}${path}: ${cause.message}`, {
              cause,
              retryable: true,
            }),
          ),
        );
        call.end(payload);
      });
    },
    close: () => agent.destroy(),
  };
}

/** Creates an object; one that exists already is fine. */
export async function createObject(api: Api, path: string, object: unknown): Promise<void> {
  const answer = await api.request("POST", path, object);
  if (answer.status >= 300 && answer.status !== 409) {
    throw new LifeboatError("KubeRejected", `POST ${path}: ${answer.status} ${answer.text}`);
  }
}
