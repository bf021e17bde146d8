import { Registry } from "prom-client";
import { systemClock } from "../clock.ts";
import type { WitnessConfig } from "../config/agent.ts";
import { createLog } from "../telemetry/log.ts";
import { runWitness } from "./witness.ts";

/** `lifeboat witness`, until the signal aborts. Rejects as `runWitness` does. */
export async function startWitness(config: WitnessConfig, { signal }: { signal: AbortSignal }): Promise<void> {
  const log = createLog({ level: config.logLevel, fields: { pair: config.pair, role: "witness" } });
  await runWitness(config, {
    signal,
    clock: systemClock,
    log,
    metrics: new Registry(),
    onReady: ({ port, generation }) => log.info({ port, generation }, "witness ready"),
  });
}
