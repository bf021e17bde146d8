import { Pulse } from "../abort.ts";
import { LifeboatError } from "../errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { parseJson } from "../objects/json.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { GroupSpecs } from "./group-spec.ts";
import { readEnded, readOrigin, writeOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";

export interface ShownObjectOptions {
  readonly parts: AgentParts;
  readonly journal: Journal;
  readonly specs: GroupSpecs;
  /** What is at this site is no copy: its object here is the group's own. */
  readonly isTruth: () => boolean;
  /** The other site of the group, as far as it is known. */
  readonly peer: () => string | undefined;
  /** An object that was lost is there again. Must not throw. */
  readonly onRestored: (message: string) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * The group's object as this site shows it: at a standby a mirror of the source's; where the group runs, the original,
 * which people write and which is written here only when it was lost.
 */
export class ShownObject {
  readonly #options: ShownObjectOptions;
  readonly #due = new Pulse();
  readonly #checking: Background;

  constructor(options: ShownObjectOptions) {
    this.#options = options;
    const { log, signal, parts } = options;
    const { clock, random } = parts;
    this.#checking = new Background({ name: "mirror", clock, random, log, signal }, (inner) => this.#run(inner));
  }

  /** The object here may not be as it should. Looked at soon, and repaired until that succeeds. */
  check(): void {
    this.#due.raise();
  }

  /** Writes the object from the journal, which must have come to this site. */
  async show(as: "original" | "mirror", { signal }: { signal: AbortSignal }): Promise<void> {
    const { journal, parts } = this.#options;
    const text = journal.specText();
    const peer = this.#options.peer();
    if (text === undefined || peer === undefined) return;
    const object = parseJson(text) as KubeObject;
    await showGroupObject(parts.client, object, as === "mirror" ? peer : undefined, { signal });
  }

  stop(): Promise<void> {
    return this.#checking.stop();
  }

  async #run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { journal, isTruth } = this.#options;
    for (;;) {
      await this.#due.wait({ signal });
      try {
        if (isTruth()) await this.#showLost(signal);
        else if (journal.specText() !== undefined) {
          await writeOrigin(journal, "copy");
          await this.show("mirror", { signal });
        }
      } catch (error) {
        this.#due.raise();
        throw error;
      }
    }
  }

  /** The object of a group that runs here is gone, and nobody was seen deleting it. */
  async #showLost(signal: AbortSignal): Promise<void> {
    const { journal, specs, parts, log, onRestored } = this.#options;
    const object = specs.lastObject();
    // A group that was taken down here is about to move or to come back; it is shown by what follows.
    const isDue = specs.object === undefined && !readEnded(journal) && readOrigin(journal) !== "held";
    if (!isDue || object === undefined) return;
    await showGroupObject(parts.client, object, undefined, { signal });
    const message = "the group's object was gone without having been deleted; it is shown again as it was last valid";
    log.warn(message);
    onRestored(message);
  }
}

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
