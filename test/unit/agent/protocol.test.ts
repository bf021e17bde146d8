import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { AgentParts } from "../../../src/agent/parts.ts";
import { GroupProtocol } from "../../../src/agent/protocol.ts";
import { parseGroup } from "../../../src/config/parse-group.ts";
import type { GroupActions } from "../../../src/failover/runner/actions.ts";
import type { GroupListener, GroupLinks } from "../../../src/failover/runner/links.ts";
import type { Renew, RenewAck, ToWitness } from "../../../src/failover/messages.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../failover-runner/manual-clock.ts";

const { group } = parseGroup({
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: "shop" },
  spec: {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: ["shop"] } },
    failover: { profile: "test" },
  },
});

/** A witness that has heard a later agent of the same site. */
function answer(renew: Renew, incarnationSeen: number): RenewAck {
  return {
    type: "RenewAck",
    group: renew.group,
    from: "witness",
    incarnation: renew.incarnation,
    seq: renew.seq,
    ok: false,
    refusal: { code: "OlderIncarnation", reason: "", retryInMs: null },
    cert: null,
    generation: 1,
    leaseMs: 0,
    guardMs: 0,
    disarmRecorded: false,
    seesReadyPeer: false,
    hearsOther: false,
    seesWitness: true,
    fenceCap: "none",
    incarnationSeen,
    op: "none",
    stamp: { by: "witness", timeMs: 0 },
  };
}

test("an agent that is deposed begins once above what was heard, and then leaves the group to the other one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-protocol-"));
  const records = StateFile.open({ path: join(folder, "agent.db") });
  const clock = new ManualClock();
  const incarnations: number[] = [];
  let listener: GroupListener | undefined;
  const links: GroupLinks = {
    register: (_group, _peer, registered) => {
      listener = registered;
      return { [Symbol.dispose]: () => (listener = undefined) };
    },
    toWitness: (message: ToWitness) => {
      if (message.type !== "Renew" || incarnations.at(-1) === message.incarnation) return;
      incarnations.push(message.incarnation);
      // Whoever takes over is always later than the agent in question.
      queueMicrotask(() => listener?.fromWitness(answer(message, message.incarnation + 1000)));
    },
    toPeer: () => undefined,
    status: () => {
      const link = { connected: true, heardAgoMs: 0, error: undefined };
      return { witness: link, peer: link };
    },
  };
  const stopping = new AbortController();
  const guards = {
    begin: () => ({ cap: "api", stopBoundMs: 0 }),
    release: async () => undefined,
    end: () => undefined,
  };
  const parts = { config: { site: "east" }, records, bootIds: ["boot"], links, guards, clock, random: () => 0.5 };
  const protocol = new GroupProtocol({
    name: "shop",
    parts: parts as unknown as AgentParts,
    actions: { notice: () => undefined, outcome: () => undefined } as unknown as GroupActions,
    isSource: () => false,
    onAdopting: async () => undefined,
    onReleased: async () => false,
    keptData: () => undefined,
    log: silentLog,
    signal: stopping.signal,
    onChange: () => undefined,
  });
  protocol.take(group);
  for (let second = 0; second < 60; second++) await clock.advance(1000);
  const [first = 0, second = 0] = incarnations;
  expect(incarnations).toHaveLength(2);
  expect(second).toBeGreaterThan(first + 1000);
  stopping.abort(new Error("the test is over"));
  await protocol.stop();
  records.close();
  rmSync(folder, { recursive: true });
});
