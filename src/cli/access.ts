import type { Command } from "commander";
import { groupApi } from "../config/group.ts";
import { parseStoredStatus, type StoredGroup } from "../config/stored.ts";
import { LifeboatError, hasCode } from "../errors.ts";
import { connect, type KubeClient } from "../kube/client.ts";
import { kubeSourceFrom } from "../kube/kubeconfig.ts";
import { resources } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Terminal } from "./terminal.ts";

export interface AccessFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** Adds the flags by which kubectl chooses a cluster. */
export function withAccess(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "kubeconfig of the site to talk to (default: KUBECONFIG, then ~/.kube/config)")
    .option("--context <name>", "context of the kubeconfig");
}

export async function openSite(flags: AccessFlags, terminal: Terminal): Promise<KubeClient> {
  return connect(kubeSourceFrom(terminal.env, flags));
}

/** Every group at the site, by name. A site without the CRD is told how to get it. */
export async function listGroups(client: KubeClient, signal: AbortSignal): Promise<StoredGroup[]> {
  const groups: StoredGroup[] = [];
  try {
    for await (const page of client.list(resources.protectionGroups, { signal })) {
      groups.push(...page.items.map(readGroup));
    }
  } catch (error) {
    throw hintMissingCrd(error, client);
  }
  return groups.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export async function getGroup(client: KubeClient, name: string, signal: AbortSignal): Promise<StoredGroup> {
  const found = await client.find(resources.protectionGroups, { name }, { signal });
  if (found !== undefined) return readGroup(found);
  const names = (await listGroups(client, signal)).map((group) => group.name);
  throw new LifeboatError("NotFound", `there is no protection group ${name} at ${client.server}`, {
    hint: names.length === 0 ? "this site has no protection groups" : `this site has: ${names.join(", ")}`,
  });
}

function readGroup(object: KubeObject): StoredGroup {
  return {
    name: object.metadata.name,
    object,
    annotations: object.metadata.annotations ?? {},
    createdAt: typeof object.metadata.creationTimestamp === "string" ? object.metadata.creationTimestamp : undefined,
    spec: object["spec"] ?? {},
    status: parseStoredStatus(object["status"]),
  };
}

function hintMissingCrd(error: unknown, client: KubeClient): unknown {
  if (!hasCode(error, "NotFound")) return error;
  return new LifeboatError("NotFound", `${client.server} has no ${groupApi.kind} resource`, {
    hint: "install Lifeboat there first: `kubectl apply -f charts/lifeboat/crds`",
    cause: error,
  });
}

/** Sets or removes (`null`) annotations of a group. */
export async function annotateGroup(
  client: KubeClient,
  name: string,
  annotations: Readonly<Record<string, string | null>>,
  signal: AbortSignal,
): Promise<void> {
  const body = { metadata: { annotations } };
  await client.patch(
    resources.protectionGroups,
    { name },
    { type: "merge", body },
    { fieldManager: "lifeboat-cli", signal },
  );
}
