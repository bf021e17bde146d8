import { randomUUID } from "node:crypto";
import * as z from "zod";
import { LifeboatError } from "../errors.ts";
import { marks } from "../objects/object.ts";

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
  verb: z.enum([
    "diff",
    "purge",
    "deletes-confirm",
    "accept-rewind",
    "divergence",
    "preflight",
    "abort",
    "pause",
    "resume",
  ]),
  /** Only list what would be done. */
  dryRun: z.boolean().default(false),
  /** The site that is meant; another one refuses. */
  site: z.string().max(63).optional(),
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

export function newRequest(verb: RequestVerb, options: { dryRun?: boolean; site?: string } = {}): GroupRequest {
  const { dryRun = false, site } = options;
  return { id: randomUUID(), verb, dryRun, ...(site === undefined ? {} : { site }) };
}

/**
 * Moves of a group, each with the annotation by which it is ordered. Its value is `SITE` or, safe to apply again,
 * `SITE@EPOCH`: the epoch that the person saw, so that a manifest that is applied again later moves nothing.
 */
export const moveAnnotations = {
  /** Unplanned: the active site is stopped or out of its lease first. Becomes a switchover while it answers. */
  failover: marks.failover,
  /** Planned, without loss; refused while either site is not fit for it. */
  switchover: "lifeboat.dev/switchover",
  /** The person attests that the other site is off. Always with the epoch. */
  "force-fenced": "lifeboat.dev/force-fenced",
} as const;

export type MoveVerb = keyof typeof moveAnnotations;

export interface MoveRequest {
  readonly to: string;
  /** The epoch that the person saw; absent in the short form. */
  readonly epoch: string | undefined;
}

const movePattern = /^([a-z0-9][a-z0-9-]{0,62})(?:@(\S{1,80}))?$/;

/** Throws ConfigInvalid. */
export function parseMove(verb: MoveVerb, text: string): MoveRequest {
  const match = movePattern.exec(text);
  if (match?.[1] === undefined) {
    throw new LifeboatError("ConfigInvalid", `not a ${verb} request: ${JSON.stringify(text.slice(0, 100))}`, {
      op: "request.parse",
      hint: "write SITE or SITE@EPOCH, for example west@1763700000.3",
    });
  }
  if (verb === "force-fenced" && match[2] === undefined) {
    throw new LifeboatError("ConfigInvalid", "force-fenced needs the epoch that you have seen", {
      op: "request.parse",
      hint: "write SITE@EPOCH; `lifeboat status GROUP` shows the epoch",
    });
  }
  return { to: match[1], epoch: match[2] };
}
