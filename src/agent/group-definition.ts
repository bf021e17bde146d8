import { backoffMs, type Clock, type Random } from "../clock.ts";
import { hasCode } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { safeError, type Log } from "../telemetry/log.ts";

export interface GroupDefinitionOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const name = "protectiongroups.lifeboat.dev";
const retryLimits = { firstMs: 200, maxMs: 5000 };

/**
 * The custom resource definition of groups at this site. Removing it deletes every group's object, one DELETED event
 * each; that is the wish for no group.
 */
export class GroupDefinition {
  readonly #options: GroupDefinitionOptions;
  #uid: string | undefined;

  constructor(options: GroupDefinitionOptions) {
    this.#options = options;
  }

  /** Remembers which definition the objects seen from now on belong to. Failures are left to the next time. */
  async note({ signal }: { signal: AbortSignal }): Promise<void> {
    const found = await this.#options.client.find(resources.crds, { name }, { signal }).catch(() => undefined);
    if (found !== undefined) this.#uid = found.metadata.uid;
  }

  /**
   * Whether the definition that an object just deleted belonged to is there and stays. Asks until the API server
   * answers; where it may not be read nothing is known, and the answer is no.
   */
  async stands({ signal }: { signal: AbortSignal }): Promise<boolean> {
    const uid = this.#uid;
    const { client, clock, random, log } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        const found = await client.find(resources.crds, { name }, { signal });
        if (found === undefined || found.metadata["deletionTimestamp"] !== undefined) return false;
        return uid === undefined || uid === found.metadata.uid;
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ error: safeError(error) }, `cannot read the custom resource definition ${name}`);
        if (hasCode(error, "KubeForbidden")) return false;
      }
      await clock.sleep(backoffMs(attempt, retryLimits, random), { signal });
    }
  }
}
