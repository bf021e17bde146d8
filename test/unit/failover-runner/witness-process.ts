import { once } from "node:events";
import { Registry } from "prom-client";
import { systemClock } from "../../../src/clock.ts";
import { silentLog, type Log } from "../../../src/telemetry/log.ts";
import { runWitness, type WitnessOptions } from "../../../src/witness/witness.ts";

/** A witness in this process, or in one of its own that can be killed. */
export interface StartedWitness {
  readonly port: number;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

export async function startWitnessHere(options: WitnessOptions, log: Log): Promise<StartedWitness> {
  const life = new AbortController();
  const ready = Promise.withResolvers<number>();
  const done = runWitness(options, {
    signal: life.signal,
    clock: systemClock,
    log,
    metrics: new Registry(),
    onReady: ({ port }) => ready.resolve(port),
  });
  done.catch(ready.reject);
  const stop = async () => {
    life.abort(new Error("stopped"));
    await done;
  };
  return { port: await ready.promise, stop, kill: stop };
}

export async function startWitnessProcess(options: WitnessOptions): Promise<StartedWitness> {
  const { spawnHere } = await import("./trio.ts");
  const child = spawnHere("witness-process.ts", [JSON.stringify(options)]);
  const exited = once(child, "exit");
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
  };
  if (child.stdout === null) throw new Error("no output of the witness");
  const [first] = (await Promise.race([once(child.stdout, "data"), exited.then(() => ["exited"])])) as [unknown];
  const port = Number(String(first));
  if (!(port > 0)) throw new Error(`the witness did not start: ${String(first)}`);
  return { port, stop: () => end("SIGTERM"), kill: () => end("SIGKILL") };
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
