import { randomUUID } from "node:crypto";
import * as z from "zod";
import { LifeboatError } from "../errors.ts";

/**
 * How a person asks an agent for something: a one-shot annotation on the ProtectionGroup. The agent removes it, does
 * what it says and writes `status.lastRequest`. Kubernetes' own access control decides who may ask.
 */
export const requestAnnotation = "lifeboat.dev/request";

/** ConfigMap in the agent's namespace with the result of a request that has one, under `data.result`. */
export function resultName(group: string): string {
  return `lifeboat-result-${group}`;
}

const requestSchema = z.strictObject({
  id: z.string().min(1).max(64),
  verb: z.enum(["diff", "purge", "deletes-confirm"]),
  /** Only list what would be done. */
  dryRun: z.boolean().default(false),
});

export type GroupRequest = z.output<typeof requestSchema>;
export type RequestVerb = GroupRequest["verb"];

/** Throws ConfigInvalid on anything that is not a request. */
export function parseRequest(text: string): GroupRequest {
  try {
    return requestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new LifeboatError("ConfigInvalid", `annotation ${requestAnnotation} is malformed`, {
      op: "request.parse",
      hint: "it is written by the `lifeboat` command; remove it",
      cause: error,
    });
  }
}

export function newRequest(verb: RequestVerb, options: { dryRun?: boolean } = {}): GroupRequest {
  return { id: randomUUID(), verb, dryRun: options.dryRun ?? false };
}

/** `SITE` or, safe to apply again, `SITE@EPOCH`: the value of the failover annotation. */
export interface FailoverRequest {
  readonly to: string;
  /** The epoch that the person saw; absent in the short form. */
  readonly epoch: string | undefined;
}

const failoverPattern = /^([a-z0-9][a-z0-9-]{0,62})(?:@(\S{1,80}))?$/;

/** Throws ConfigInvalid. */
export function parseFailover(text: string): FailoverRequest {
  const match = failoverPattern.exec(text);
  if (match?.[1] === undefined) {
    throw new LifeboatError("ConfigInvalid", `not a failover request: ${JSON.stringify(text.slice(0, 100))}`, {
      op: "request.parse",
      hint: "write SITE or SITE@EPOCH, for example west@1763700000.3",
    });
  }
  return { to: match[1], epoch: match[2] };
}
