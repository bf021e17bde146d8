/**
 * A controller that follows a longer-lived signal until it is disposed. `AbortSignal.any` keeps memory in the long
 * signal for each use; this removes its listener, so use it with `using`:
 *
 * ```ts
 * using scope = linkedAbort(signal);
 * await work({ signal: scope.signal });
 * ```
 */
export interface LinkedAbort extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts this signal only, never the parent's. */
  abort(reason?: unknown): void;
}

/** Links one or more parents; the first that aborts passes its reason on. Disposing does not abort. */
export function linkedAbort(...parents: readonly AbortSignal[]): LinkedAbort {
  const controller = new AbortController();
  const removals: (() => void)[] = [];
  const release = () => {
    for (const remove of removals.splice(0)) remove();
  };
  for (const parent of parents) {
    const follow = () => {
      release();
      controller.abort(parent.reason);
    };
    if (parent.aborted) {
      follow();
      break;
    }
    parent.addEventListener("abort", follow, { once: true });
    removals.push(() => parent.removeEventListener("abort", follow));
  }
  return {
    signal: controller.signal,
    abort: (reason) => {
      release();
      controller.abort(reason);
    },
    [Symbol.dispose]: release,
  };
}

/** Calls `listener` once when the signal aborts, at once when it has; disposing removes it. */
export function onAbort(signal: AbortSignal, listener: (reason: unknown) => void): Disposable {
  const handle = () => listener(signal.reason);
  if (signal.aborted) {
    handle();
    return { [Symbol.dispose]: () => {} };
  }
  signal.addEventListener("abort", handle, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", handle) };
}

/** What `promise` comes to, or a rejection with the signal's reason when that is first; the promise then goes on. */
export async function orAborted<T>(promise: Promise<T>, { signal }: { signal: AbortSignal }): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  using _listener = onAbort(signal, aborted.reject);
  return await Promise.race([promise, aborted.promise]);
}

/**
 * Runs tasks that belong together: when one fails, the others are aborted and waited for; rejects with the first
 * error. Returns when all have ended.
 */
export async function runTogether(
  tasks: readonly ((options: { signal: AbortSignal }) => Promise<void>)[],
  { signal }: { signal: AbortSignal },
): Promise<void> {
  using scope = linkedAbort(signal);
  let failed = false;
  let firstError: unknown;
  await Promise.all(
    tasks.map(async (task) => {
      try {
        await task({ signal: scope.signal });
      } catch (error) {
        if (!failed) {
          failed = true;
          firstError = error;
        }
        scope.abort(error);
      }
    }),
  );
  if (failed) throw firstError;
}

/** An event that can be raised and waited for. Raised while nobody waits, it is kept; several raises count as one. */
export class Pulse {
  #raised = false;
  readonly #waiters = new Set<() => void>();

  raise(): void {
    this.#raised = true;
    for (const wake of this.#waiters) wake();
  }

  /** Resolves when raised, and lowers it. Rejects with the signal's reason when aborted. */
  async wait({ signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    while (!this.#raised) {
      let wake: () => void = () => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.#waiters.add(wake);
      using _listener = onAbort(signal, wake);
      await woken;
      this.#waiters.delete(wake);
      signal.throwIfAborted();
    }
    this.#raised = false;
  }
}
