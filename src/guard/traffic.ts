import { execFile } from "node:child_process";
import type { Clock } from "../clock.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { refreshScript, removeScript, setupScript, type Family } from "./nft.ts";

/** One transaction takes 10 ms on an idle machine; one that takes this long is given up and begun anew. */
const nftLimitMs = 2000;
/** Taken off each end for the time between its calculation and the kernel's taking it in; more on a slow machine. */
const marginMinMs = 100;
/** An end is moved in the kernel when this share of what is left has been gained: a refresh is a process. */
const gainShare = 0.25;
const retryMs = 500;

/** What nft is asked to do, or only to check; rejects with its words. Replaced in tests alone. */
export type RunNft = (script: string, options?: { readonly check?: boolean }) => Promise<void>;

export const runNft: RunNft = (script, { check = false } = {}) =>
  new Promise((resolve, reject) => {
    const args = [...(check ? ["-c"] : []), "-f", "-"];
    const child = execFile("nft", args, { timeout: nftLimitMs, killSignal: "SIGKILL" }, (error, _out, err) => {
      if (error === null) resolve();
      else reject(nftFailed(error, err));
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(script);
  });

function nftFailed(cause: Error, words: string): LifeboatError {
  const missing = "code" in cause && cause.code === "ENOENT";
  return new LifeboatError(
    missing ? "ToolMissing" : "ProgramFailed",
    missing ? "nft is not installed" : `nft: ${words.trim() === "" ? messageOf(cause) : words.trim()}`,
    { op: "guard.traffic", hint: missing ? "apt install nftables" : "the guard needs root, or CAP_NET_ADMIN", cause },
  );
}

export interface TrafficOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly nft?: RunNft;
}

/** The kernel's dead-man: keeps it told how long which addresses may still talk. */
export class Traffic {
  readonly #options: TrafficOptions;
  readonly #nft: RunNft;
  #families: readonly Family[] = [];
  /** End in the kernel, by gated address; of the last transaction that succeeded. */
  #kernel: ReadonlyMap<string, number> = new Map();
  #wanted: ReadonlyMap<string, number> = new Map();
  #running: Promise<void> | undefined;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #problem: LifeboatError | undefined;
  /** What the sets hold is known to this process. */
  #known = false;
  #marginMs = marginMinMs;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#nft = options.nft ?? runNft;
  }

  /** Whether the kernel holds what was last wanted, or soon will: without that, pods outlive a killed guard. */
  get works(): boolean {
    return this.#families.length > 0 && this.#problem === undefined;
  }

  get problem(): LifeboatError | undefined {
    return this.#problem;
  }

  /** Why the rules could not be put in place; changes nothing. */
  async whyNot(): Promise<string | undefined> {
    return this.#nft(setupScript("inet"), { check: true }).then(() => undefined, messageOf);
  }

  /** Puts the rules in place; what an earlier process told the kernel stays. Does not throw. */
  async setup(): Promise<void> {
    try {
      await this.#nft(setupScript("inet"));
      this.#families = ["inet"];
      this.#problem = undefined;
    } catch (error) {
      this.#fail(error);
      return;
    }
    try {
      await this.#nft(setupScript("bridge"));
      this.#families = ["inet", "bridge"];
    } catch (error) {
      this.#options.log.info(
        { error: safeError(error) },
        "this kernel has no firewall for bridges; only routed traffic is cut",
      );
    }
  }

  /**
   * From now on exactly these addresses are gated, each until its end on the clock (0: cut). Returns at once; the kernel
   * follows within milliseconds where something is to be cut or gained.
   */
  want(ends: ReadonlyMap<string, number>): void {
    this.#wanted = ends;
    this.#work();
  }

  /** Resolves when the kernel holds what is wanted, or nft has failed. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #work(): void {
    if (this.#running !== undefined || !this.#isDue()) return;
    this.#running = this.#refresh().finally(() => {
      this.#running = undefined;
      this.#work();
    });
  }

  #isDue(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#problem !== undefined && nowMs - this.#failedAtMs < retryMs) return false;
    if (this.#families.length === 0) return this.#problem !== undefined;
    if (!this.#known || this.#wanted.size !== this.#kernel.size) return true;
    for (const [address, end] of this.#wanted) {
      const there = this.#kernel.get(address);
      if (there === undefined || differs(there, end, nowMs)) return true;
    }
    return false;
  }

  async #refresh(): Promise<void> {
    const { clock } = this.#options;
    if (this.#families.length === 0) await this.setup();
    if (this.#families.length === 0) return;
    const nowMs = clock.monotonicMs();
    const ends = this.#wanted;
    const left = new Map([...ends].map(([address, end]) => [address, end - nowMs - this.#marginMs]));
    try {
      await this.#nft(this.#families.map((family) => refreshScript(family, left)).join(""));
      this.#kernel = ends;
      this.#known = true;
      this.#problem = undefined;
    } catch (error) {
      // Another program may have flushed all rules: they are put in place anew.
      this.#known = false;
      this.#families = [];
      this.#fail(error);
      return;
    }
    const tookMs = clock.monotonicMs() - nowMs;
    // The kernel may have begun to count too late: the ends are set again, with room for as slow a machine.
    if (tookMs > this.#marginMs) this.#known = false;
    this.#marginMs = Math.max(marginMinMs, 2 * tookMs);
  }

  #fail(error: unknown): void {
    const failure = error instanceof LifeboatError ? error : new LifeboatError("Internal", messageOf(error));
    if (this.#problem?.message !== failure.message) {
      this.#options.log.error({ error: safeError(failure) }, "the kernel's cut of traffic cannot be set up");
    }
    this.#problem = failure;
    this.#failedAtMs = this.#options.clock.monotonicMs();
  }

  /** Lifts everything: the guard is being removed from the node. */
  async remove(): Promise<void> {
    await this.settled();
    await this.#nft(removeScript("inet"));
    await this.#nft(removeScript("bridge")).catch(() => undefined);
  }
}

/** Whether the kernel has to be told: of every cut, and of an end that has moved by enough. */
function differs(there: number, wanted: number, nowMs: number): boolean {
  if (wanted <= nowMs) return there > nowMs;
  if (wanted < there) return true;
  return wanted - there > (wanted - nowMs) * gainShare;
}
