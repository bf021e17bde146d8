import { expect, test } from "vitest";
import { sourceFolder } from "./mutants.ts";
import { loadReducers } from "./reducers.ts";
import { scenarioFiles } from "./run-mutants.ts";
import { readScenario, runScenario } from "./scenario.ts";

const reducers = await loadReducers(sourceFolder);
/** Seeds per mode here; the whole number is run by `npm run sim -- --scenario all`. */
const RUNS = 8;

test.each(
  scenarioFiles()
    .map((path) => readScenario(path))
    .map((scenario) => [scenario.title, scenario] as const),
)("%s", (_title, scenario) => {
  expect(runScenario(scenario, reducers, { runs: RUNS }).failures).toEqual([]);
});
