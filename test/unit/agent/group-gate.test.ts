import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AdmissionGates } from "../../../src/admission/gates.ts";
import { GroupGate } from "../../../src/agent/group-gate.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { StateFile } from "../../../src/journal/state.ts";
import type { KubeClient } from "../../../src/kube/client.ts";
import { silentLog as log } from "../../../src/telemetry/log.ts";

/** What a gate says of nodes is only noted here: nothing is open or closed, and no API server is asked. */
class Placing extends AdmissionGates {
  last: readonly string[] | undefined | "unasked" = "unasked";

  constructor() {
    super({ client: undefined as unknown as KubeClient, site: "east", clock, random: () => 0, log });
  }

  override place(_group: string, nodes: readonly string[] | undefined): void {
    this.last = nodes;
  }
}

test("a group's pods are kept to guarded nodes until the protocol has said otherwise, to this process or a former", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-gate-"));
  const records = StateFile.open({ path: join(folder, "agent.db") });
  const next = (): { readonly gate: GroupGate; readonly gates: Placing } => {
    const gates = new Placing();
    return {
      gate: new GroupGate({
        name: "shop",
        site: "east",
        gates,
        covered: () => undefined,
        cert: () => null,
        records,
        log,
      }),
      gates,
    };
  };
  const first = next();
  first.gate.setGuarded(["n1"]);
  expect(first.gates.last).toEqual(["n1"]);
  first.gate.allowUnguarded(true);
  expect(first.gates.last).toBeUndefined();
  await records.putState("written after it", 1);

  // Also while nobody answers the next process.
  const second = next();
  second.gate.setGuarded([]);
  expect(second.gates.last).toBeUndefined();
  second.gate.allowUnguarded(false);
  expect(second.gates.last).toEqual([]);
  await records.putState("written after it", 2);

  const third = next();
  third.gate.setGuarded(["n1", "n2"]);
  expect(third.gates.last).toEqual(["n1", "n2"]);
  records.close();
  rmSync(folder, { recursive: true });
});
