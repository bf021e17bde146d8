/** What a command may use of the process it runs in. `main.ts` is the only place that makes one. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Output is a terminal: colours, progress and redrawing are welcome. */
  readonly interactive: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  /** `lifeboat`, or `kubectl lifeboat` when it was started as kubectl's plugin. */
  readonly program: string;
  /** Exit code of the process when the command ends. */
  readonly setExitCode: (code: number) => void;
}

/** Exit codes of every command. Documented in `lifeboat --help`. */
export const exitCodes = {
  ok: 0,
  /** The command failed; stderr says why. */
  failed: 1,
  /** Wrong usage: an unknown flag, a missing argument. */
  usage: 2,
  /** The command worked and found something: a difference, a failed check. */
  found: 3,
  /** The request was refused by the protocol; nothing was changed. */
  refused: 4,
  /** `--wait` ended before the outcome was known. The request stands. */
  pending: 5,
} as const;
