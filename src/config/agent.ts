import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import * as z from "zod";
import { LifeboatError, messageOf } from "../errors.ts";
import { siteName } from "./fields.ts";
import { describeIssues } from "./issues.ts";

/**
 * Configuration files of the two long-running processes, `lifeboat agent --config FILE` and `lifeboat witness --config
 * FILE`. YAML or JSON; unknown fields are refused, so that a misspelt one is not silently ignored.
 */

const address = (what: string) =>
  z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s/]+):\d{1,5}$/, { error: "must be HOST:PORT, for example 10.0.0.5:7443" })
    .describe(what);

/** Agents of one site of which one answers at a time. */
const agentsMaxCount = 8;

export const agentAddress = (what: string) =>
  z.union([address("The address."), z.array(address("One of several.")).min(1).max(agentsMaxCount)]).describe(what);

const tlsSchema = z
  .strictObject({
    cert: z.string().min(1).describe("File with the certificate of this process (PEM)."),
    key: z.string().min(1).describe("File with its private key (PEM)."),
    ca: z.string().min(1).describe("File with the authorities of the pair (PEM, one or several)."),
  })
  .describe("Mutual TLS. The files are read again when they change.");

const level = z
  .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
  .default("info")
  .describe("Least level of log lines.");

const pairName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, { error: "must be a lower-case name" })
  .describe("Name of the pair, as in the certificates.");

export const agentConfigSchema = z
  .strictObject({
    site: siteName("Name of this site."),
    pair: pairName,
    namespace: z
      .string()
      .default("lifeboat-system")
      .describe("Namespace of this agent; its canaries and the answers to commands live there."),
    kubeconfig: z
      .string()
      .optional()
      .describe(
        "Kubeconfig of this site's API server. Absent: KUBECONFIG, the pod's service account, or ~/.kube/config.",
      ),
    context: z.string().optional().describe("Context of the kubeconfig."),
    listen: address("Address at which peers reach this agent.").default("0.0.0.0:7443"),
    peers: z
      .array(
        z
          .strictObject({
            site: siteName("Name of the peer's site."),
            address: agentAddress(
              "Address of its agent; a list where several take turns and no Service is before them. Absent: it dials us, and this site can be standby of nothing.",
            ).optional(),
          })
          .describe("A peer."),
      )
      .min(1)
      .max(16)
      .describe("The other sites that this agent replicates with."),
    witness: z
      .strictObject({ address: address("Address of the witness.") })
      .describe("The witness. Without one, only what was granted goes on.")
      .optional(),
    tls: tlsSchema,
    dataDir: z.string().min(1).describe("Folder of the journal; must survive a restart."),
    journalKey: z
      .string()
      .optional()
      .describe("File with 32 random bytes: the journal's texts are encrypted with it. Absent: they are not."),
    election: z
      .strictObject({
        lease: z.string().min(1).default("lifeboat-agent").describe("Name of the Lease, in `namespace`."),
        identity: z
          .string()
          .min(1)
          .optional()
          .describe("Name of this agent among those of the site. Absent: its host name, which in a pod is the pod's."),
        durationSeconds: z
          .int()
          .min(2)
          .max(60)
          .default(6)
          .describe(
            "An agent that has not renewed the Lease for so long is followed by another. With two seconds for its start it must fit into the lease of the shortest failover profile in use: 6 for `fast`.",
          ),
      })
      .describe(
        "Several agents at this site: one, elected, leads; the others keep the journals. What the site must not forget is then kept in Secrets of `namespace`. Absent: one agent, which keeps it in `dataDir`.",
      )
      .optional(),
    metrics: address("Address of /metrics, /healthz and /readyz.").default("0.0.0.0:9440"),
    logLevel: level,
  })
  .describe("Configuration of an agent.");

const etcdStoreSchema = z
  .strictObject({
    endpoints: z
      .array(
        z
          .string()
          .regex(/^https?:\/\/[^/\s]+$/, { error: "must be http://HOST:PORT or https://HOST:PORT" })
          .describe("A member."),
      )
      .min(1)
      .max(16)
      .describe("Some or all members of the cluster. Those that are named are tried in turn."),
    key: z.string().min(1).optional().describe("Key that holds everything. Absent: `lifeboat/witness/` and the pair."),
    tls: tlsSchema.describe("For https. The files are read at the start.").optional(),
  })
  .refine(({ endpoints, tls }) => tls !== undefined || endpoints.every((each) => each.startsWith("http:")), {
    error: "is required for https",
    path: ["tls"],
  })
  .describe("etcd: for several witnesses of which one is at work.");

const leaseStoreSchema = z
  .strictObject({
    kubeconfig: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Kubeconfig of the cluster that holds it: neither site's. Absent: KUBECONFIG, the pod's service account, or ~/.kube/config.",
      ),
    context: z.string().optional().describe("Context of the kubeconfig."),
    namespace: z.string().min(1).default("lifeboat-system").describe("Its namespace, which must exist."),
    name: z.string().min(1).optional().describe("Its name. Absent: `lifeboat-witness-` and the pair."),
  })
  .describe("A Lease object in a third cluster: for several witnesses of which one is at work.");

export const witnessConfigSchema = z
  .strictObject({
    pair: pairName,
    listen: address("Address at which the agents reach this witness.").default("0.0.0.0:7444"),
    tls: tlsSchema,
    dataDir: z
      .string()
      .min(1)
      .describe("Folder of the store on disk; must survive a restart. Required unless `store` names another one.")
      .optional(),
    store: z
      .strictObject({ etcd: etcdStoreSchema.optional(), lease: leaseStoreSchema.optional() })
      .refine(({ etcd, lease }) => (etcd === undefined) !== (lease === undefined), {
        error: "name one of etcd, lease; leave `store` out for a store on disk",
      })
      .describe("Where the witness keeps what it must not forget. Absent: SQLite in `dataDir`.")
      .optional(),
    metrics: address("Address of /metrics, /healthz and /readyz.").default("0.0.0.0:9441"),
    logLevel: level,
  })
  .refine(({ dataDir, store }) => dataDir !== undefined || store !== undefined, {
    error: "is required, or name another store under `store`",
    path: ["dataDir"],
  })
  .describe("Configuration of a witness.");

export type AgentConfig = z.output<typeof agentConfigSchema>;
export type WitnessConfig = z.output<typeof witnessConfigSchema>;

/** Reads and checks a configuration file. Throws ConfigInvalid that names every wrong field. */
export async function loadConfig<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.output<Schema>> {
  let value: unknown;
  try {
    value = parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new LifeboatError("ConfigInvalid", `cannot read ${path}: ${messageOf(cause)}`, { op: "config.load", cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = describeIssues(result.error, schema, "");
  throw new LifeboatError("ConfigInvalid", `${path}: ${problems.join("; ")}`, {
    op: "config.load",
    hint: "docs/configuration.md lists every field",
  });
}
