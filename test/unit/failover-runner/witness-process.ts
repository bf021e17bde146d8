import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Registry } from "prom-client";
import { systemClock } from "../../../src/clock.ts";
import { silentLog, type Log } from "../../../src/telemetry/log.ts";
import { runWitness, type WitnessEnvironment, type WitnessOptions } from "../../../src/witness/witness.ts";

/** A witness in this process, or in one of its own that can be killed. */
export interface StartedWitness {
  readonly port: number;
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** Resolves at its end, with the error if it ended by one. */
  readonly ended: Promise<unknown>;
}

export async function startWitnessHere(
  options: WitnessOptions,
  log: Log,
  environment: Partial<WitnessEnvironment> = {},
): Promise<StartedWitness> {
  const life = new AbortController();
  const ready = Promise.withResolvers<number>();
  const ended = runWitness(options, {
    signal: life.signal,
    clock: systemClock,
    log,
    metrics: new Registry(),
    onReady: ({ port }) => ready.resolve(port),
    ...environment,
  }).catch((error: unknown) => {
    ready.reject(error);
    return error;
  });
  const stop = async () => {
    life.abort(new Error("stopped"));
    await ended;
  };
  return { port: await ready.promise, stop, kill: stop, ended };
}

export async function startWitnessProcess(options: WitnessOptions): Promise<StartedWitness> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
  };
  const [first] = (await Promise.race([once(child.stdout, "data"), exited.then(() => ["exited"])])) as [unknown];
  const port = Number(String(first));
  if (!(port > 0)) throw new Error(`the witness did not start: ${String(first)}`);
  return {
    port,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    ended: exited.then(([code]) => code as unknown),
  };
}

/** As a process: one argument with the options, prints its port. */
if (import.meta.main) {
  const life = new AbortController();
  process.on("SIGTERM", () => life.abort(new Error("SIGTERM")));
  await runWitness(JSON.parse(process.argv[2] ?? "") as WitnessOptions, {
    signal: life.signal,
    clock: systemClock,
    log: silentLog,
    metrics: new Registry(),
    onReady: ({ port }) => process.stdout.write(`${port}\n`),
  });
}
