import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { Stage } from "./plan.ts";

/**
 * How far a promotion has come, kept in the journal. A promotion that is repeated after a crash leaves alone what it
 * has brought up already: the site is active for it, users change it, and the journal has only what it was before.
 */
interface Progress {
  readonly epoch: string;
  /** Stages whose objects were applied. */
  readonly waves: readonly number[];
  /** Of those, objects that could not be. */
  readonly failed: readonly ObjectKey[];
}

const recordName = "apply/promoted";

export class Promoted {
  readonly #journal: Journal;
  #progress: Progress;

  /** Progress under the epoch that the journal holds; of an earlier promotion nothing counts. */
  constructor(journal: Journal) {
    this.#journal = journal;
    const epoch = journal.epoch() ?? "";
    const stored = journal.getState(recordName) as Progress | undefined;
    this.#progress = stored?.epoch === epoch ? stored : { epoch, waves: [], failed: [] };
  }

  /** What of a stage is still to be applied. */
  left({ wave, keys }: Stage): readonly ObjectKey[] {
    if (!this.#progress.waves.includes(wave)) return keys;
    const failed = new Set(this.#progress.failed);
    return keys.filter((key) => failed.has(key));
  }

  /** The stage was applied but for `failures`. Durable when it resolves. */
  async done({ wave, keys }: Stage, failures: Iterable<ObjectKey>): Promise<void> {
    const { epoch, waves, failed } = this.#progress;
    const own = new Set(keys);
    this.#progress = {
      epoch,
      waves: [...new Set([...waves, wave])],
      failed: [...failed.filter((key) => !own.has(key)), ...failures],
    };
    await this.#journal.putState(recordName, this.#progress);
  }
}
