/** A number that others wait for. It may fall (a new ring starts over); waiters wait for it to pass their mark. */
export class Threshold {
  #value = 0;
  readonly #waiters = new Set<{ readonly mark: number; readonly pass: () => void }>();

  get value(): number {
    return this.#value;
  }

  set(value: number): void {
    this.#value = value;
    for (const waiter of this.#waiters) {
      if (value > waiter.mark) waiter.pass();
    }
  }

  /** Resolves when the value is above `mark`; rejects with the signal's reason. */
  whenBeyond(mark: number, options: { signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    if (this.#value > mark) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener("abort", abort);
      };
      const waiter = {
        mark,
        pass: () => {
          end();
          resolve();
        },
      };
      const abort = (): void => {
        end();
        reject(signal.reason as Error);
      };
      this.#waiters.add(waiter);
      signal.addEventListener("abort", abort, { once: true });
    });
  }
}
