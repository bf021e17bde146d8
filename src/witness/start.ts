import { Registry } from "prom-client";
import { systemClock } from "../clock.ts";
import type { WitnessConfig } from "../config/agent.ts";
import { createLog } from "../telemetry/log.ts";
import { startTelemetryServer } from "../telemetry/server.ts";
import { openStore } from "./open-store.ts";
import { runWitness } from "./witness.ts";

export interface WitnessProcessOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** `lifeboat witness`, until the signal aborts. Rejects as `openStore` and `runWitness` do. */
export async function startWitness(config: WitnessConfig, { env, signal }: WitnessProcessOptions): Promise<void> {
  const log = createLog({ level: config.logLevel, fields: { pair: config.pair, role: "witness" } });
  const registry = new Registry();
  let ready = false;
  const telemetry = await startTelemetryServer({ listen: config.metrics, registry, isReady: () => ready, log });
  try {
    await runWitness(config, {
      signal,
      store: await openStore(config, { env, clock: systemClock, random: Math.random, log }),
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
