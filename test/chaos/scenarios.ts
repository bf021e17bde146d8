/** What may be run, by its names. */
import { setTimeout as delay } from "node:timers/promises";
import { cases, singleFaults } from "./cases.ts";
import { points } from "./points.ts";
import { drawnName, type Scenario } from "./scenario.ts";

/** Two single faults at once, drawn from `random`. */
export function doubleFault(random: () => number): Scenario {
  const draw = (): Scenario =>
    singleFaults[Math.floor(random() * singleFaults.length)] ?? (singleFaults[0] as Scenario);
  const [first, second] = [draw(), draw()];
  const pauseMs = Math.floor(random() * 5_000);
  return {
    name: drawnName,
    what: `${first.name}, and ${pauseMs} ms later ${second.name}`,
    runs: "anyone",
    faults: async (stage) => {
      await first.faults(stage);
      await delay(pauseMs);
      // What the first has taken down the second cannot take down again.
      await second.faults(stage).catch(() => undefined);
    },
  };
}

export const scenarios: readonly Scenario[] = [...cases, ...points];
/** Names that stand for several scenarios. */
export const sets: Readonly<Record<string, readonly Scenario[]>> = { all: scenarios, cases, points };
