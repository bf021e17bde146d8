import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { marks, type KubeObject } from "../objects/object.ts";

/** Manager of mirrors; it gives up its fields when the mirror becomes the original. */
const manager = "lifeboat-mirror";

/**
 * Makes a site show the group's object: as a mirror of `mirrorOf`, or, where that is undefined, as the original, whose
 * fields then belong to nobody so that no later apply meets a conflict.
 */
export async function showGroupObject(
  client: KubeClient,
  object: KubeObject,
  mirrorOf: string | undefined,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const { name, labels = {}, annotations = {} } = object.metadata;
  const resource = resources.protectionGroups;
  const shown: KubeObject = {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name,
      labels,
      annotations: mirrorOf === undefined ? annotations : { ...annotations, [marks.mirror]: mirrorOf },
    },
    spec: object["spec"],
  };
  await client.apply(resource, shown, { fieldManager: manager, force: true, signal });
  if (mirrorOf !== undefined) return;
  const live = await client.find(resource, { name }, { signal });
  if (live === undefined)
    throw new LifeboatError("NotFound", `the object of group ${name} was deleted`, { retryable: true });
  const kept = Object.fromEntries(
    Object.entries(live.metadata.annotations ?? {}).filter(([key]) => key !== marks.mirror),
  );
  const body = { metadata: { managedFields: [{}], annotations: { ...kept, [marks.mirror]: null } } };
  await client.patch(resource, { name }, { type: "merge", body }, { fieldManager: manager, signal });
}
