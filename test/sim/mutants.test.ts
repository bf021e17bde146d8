import { expect, test } from "vitest";
import { loadMutant, mutants } from "./mutants.ts";
import { runMutant } from "./run-mutants.ts";

test.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
  "the text of mutant %s is found",
  async (_name, mutant) => {
    const { remove } = await loadMutant(mutant);
    remove();
  },
);

/** Those that a scenario kills; the ones that need seeds are run by `npm run sim -- --mutants`. */
const directed = mutants.filter(({ seeds, equivalent }) => seeds === undefined && equivalent === undefined);

test.each(directed.map((mutant) => [mutant.name, mutant] as const))("mutant %s is killed", async (_name, mutant) => {
  expect(await runMutant(mutant, "short")).toMatchObject({ killed: true });
});

const equivalent = mutants.filter((mutant) => mutant.equivalent !== undefined);

test.each(equivalent.map((mutant) => [mutant.name, mutant] as const))(
  "mutant %s changes nothing",
  async (_name, mutant) => {
    expect(await runMutant(mutant, "short")).toMatchObject({ killed: false, by: "nothing" });
  },
);
