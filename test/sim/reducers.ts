/** The reducers under test. The simulator knows them by this shape alone, so that a mutant can take their place. */
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import type * as Agent from "../../src/failover/agent.ts";
import type * as AgentStateModule from "../../src/failover/agent-state.ts";
import type * as AgentGuards from "../../src/failover/agent-guards.ts";
import type * as Guard from "../../src/failover/guard.ts";
import type * as Timing from "../../src/failover/timing.ts";
import type * as Witness from "../../src/failover/witness.ts";

export interface Reducers {
  readonly bootAgent: typeof Agent.bootAgent;
  readonly stepAgent: typeof Agent.stepAgent;
  readonly nextWakeAgent: typeof Agent.nextWakeAgent;
  readonly mayPlace: typeof AgentGuards.mayPlace;
  readonly bootGuard: typeof Guard.bootGuard;
  readonly stepGuard: typeof Guard.stepGuard;
  readonly nextWakeGuard: typeof Guard.nextWakeGuard;
  readonly bootWitness: typeof Witness.bootWitness;
  readonly bootWitnessGroup: typeof Witness.bootWitnessGroup;
  readonly newWitnessGroup: typeof Witness.newWitnessGroup;
  readonly stepWitness: typeof Witness.stepWitness;
  readonly profileTiming: typeof Timing.profileTiming;
  readonly emptyRecord: typeof AgentStateModule.emptyRecord;
}

/** Loads them from a folder that looks like src/failover. */
export async function loadReducers(folder: string): Promise<Reducers> {
  const load = async (file: string): Promise<Partial<Reducers>> => import(pathToFileURL(join(folder, file)).href);
  const files = ["agent.ts", "agent-guards.ts", "agent-state.ts", "guard.ts", "timing.ts", "witness.ts"];
  const parts = await Promise.all(files.map(load));
  return Object.assign({}, ...parts.map((part) => ({ ...part }))) as Reducers;
}
