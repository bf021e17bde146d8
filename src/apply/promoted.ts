import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { Stage } from "./plan.ts";

/**
 * How far a promotion has come, kept in the journal. A promotion that is repeated after a crash leaves alone what it
 * has brought up already: the site is active for it, users change it, and the journal has only what it was before.
 * What a wave was in the middle of is told by what others held of the copies before the promotion began.
 */
interface Progress {
  readonly epoch: string;
  /** Stages whose objects were applied. */
  readonly waves: readonly number[];
  /** Of those, objects that could not be. */
  readonly failed: readonly ObjectKey[];
  /** Of copies that others had written to before: what they held then, as a fingerprint. By their key at this site. */
  readonly foreign?: Readonly<Record<ObjectKey, string>>;
}

const recordName = "apply/promoted";

export class Promoted {
  /** An earlier call under this epoch did not come to its end. */
  readonly isResumed: boolean;
  readonly #journal: Journal;
  #progress: Progress;

  /** Progress under the epoch that the journal holds; of an earlier promotion nothing counts. */
  constructor(journal: Journal) {
    this.#journal = journal;
    const epoch = journal.epoch() ?? "";
    const stored = journal.getState(recordName) as Progress | undefined;
    this.isResumed = stored?.epoch === epoch;
    this.#progress = stored?.epoch === epoch ? stored : { epoch, waves: [], failed: [] };
  }

  /** The promotion begins; `foreign` is what others hold of the copies at this moment. Durable when it resolves. */
  async begin(foreign: ReadonlyMap<ObjectKey, string>): Promise<void> {
    this.#progress = { ...this.#progress, foreign: Object.fromEntries(foreign) };
    await this.#journal.putState(recordName, this.#progress);
  }

  /** Fingerprint of what others held of a copy before the promotion began; "" for nothing. */
  foreignBefore(target: ObjectKey): string {
    return this.#progress.foreign?.[target] ?? "";
  }

  /** What of a stage is still to be applied. */
  left({ wave, keys }: Stage): readonly ObjectKey[] {
    if (!this.#progress.waves.includes(wave)) return keys;
    const failed = new Set(this.#progress.failed);
    return keys.filter((key) => failed.has(key));
  }

  /** The stage was applied but for `failures`. Durable when it resolves. */
  async done({ wave, keys }: Stage, failures: Iterable<ObjectKey>): Promise<void> {
    const { waves, failed } = this.#progress;
    const own = new Set(keys);
    this.#progress = {
      ...this.#progress,
      waves: [...new Set([...waves, wave])],
      failed: [...failed.filter((key) => !own.has(key)), ...failures],
    };
    await this.#journal.putState(recordName, this.#progress);
  }
}
