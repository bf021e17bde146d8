import type { WitnessGroupRecord, WitnessTerm } from "../failover/witness-state.ts";

/**
 * Where the witness keeps what it must not forget. A register with one owner: whoever claimed the term last. Two
 * processes on one store (a rolling update) never both write, and never both answer: each answer passes
 * {@link WitnessStore.commit}, which fails for all but the owner.
 *
 * test/unit/witness/store-contract.ts is what every store has to pass.
 */
export interface WitnessStore {
  /** Where it is, for logs and errors. */
  readonly place: string;
  /** The stored term; null when the store is new. */
  readTerm(options: StoreOptions): Promise<WitnessTerm | null>;
  /**
   * Makes `next` the term if it is still `expected`; durable when it resolves. Rejects with WitnessReplaced
   * (retryable) when another process was faster.
   */
  claim(expected: WitnessTerm | null, next: WitnessTerm, options: StoreOptions): Promise<void>;
  /** All groups; read after the claim, so that no older owner can change them any more. */
  readGroups(options: StoreOptions): Promise<WitnessGroupRecord[]>;
  /**
   * In one transaction: the term is still `term`, and these records are stored, all or none; durable when it
   * resolves. Without records it only confirms the term. Rejects with WitnessReplaced when the term is another's;
   * with WitnessStoreFull or WitnessStoreCorrupt when nothing could be stored. After any other rejection the outcome
   * is open.
   */
  commit(term: WitnessTerm, records: readonly WitnessGroupRecord[], options: StoreOptions): Promise<void>;
  close(): Promise<void>;
}

export interface StoreOptions {
  readonly signal: AbortSignal;
}
