import { Registry } from "prom-client";
import { systemClock } from "../clock.ts";
import type { WitnessConfig } from "../config/agent.ts";
import { createLog } from "../telemetry/log.ts";
import { startTelemetryServer } from "../telemetry/server.ts";
import { runWitness } from "./witness.ts";

/** `lifeboat witness`, until the signal aborts. Rejects as `runWitness` does. */
export async function startWitness(config: WitnessConfig, { signal }: { signal: AbortSignal }): Promise<void> {
  const log = createLog({ level: config.logLevel, fields: { pair: config.pair, role: "witness" } });
  const registry = new Registry();
  let ready = false;
  const telemetry = await startTelemetryServer({ listen: config.metrics, registry, isReady: () => ready, log });
  try {
    await runWitness(config, {
      signal,
      clock: systemClock,
      log,
      metrics: registry,
      onReady: ({ port, generation }) => {
        ready = true;
        log.info({ port, generation }, "witness ready");
      },
    });
  } finally {
    await telemetry.close();
  }
}
