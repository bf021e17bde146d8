import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { GroupCapture } from "../../src/capture/group.ts";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import {
  configMap,
  eventually,
  keysOf,
  keysOfObjects,
  makeNamespace,
  protectionGroup,
  selecting,
  startSource,
  useSource,
} from "./capture-harness.ts";
import { startFlakyLink } from "./flaky-link.ts";
import { kubeconfigs } from "./sites.ts";

const east = useSource();
/** A timer may fire a little before its time. */
const timerSlackMs = 5;

test("lag is measured on the source's clock, and its age grows while the standby is silent", async () => {
  const ns = east.fresh();
  await makeNamespace(east.writer, ns);
  const spec = selecting({ namespaces: { names: [ns] } });
  const lags: { kind: string; ms: number }[] = [];
  const capture = new GroupCapture({
    group: protectionGroup(ns, spec),
    spec,
    site: "east",
    pool: east.source.pool,
    client: east.source.client,
    agentNamespace: ns,
    epoch: () => "1.1",
    canaryIntervalMs: 50,
    onLag: (kind, ms) => lags.push({ kind, ms }),
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  });
  const stopping = new AbortController();
  const running = capture.run({ signal: stopping.signal }).catch(() => undefined);
  try {
    await capture.whenSynced({ signal: east.source.signal });
    expect(capture.report().lag).toMatchObject({ everSynced: false, durableAgeMs: undefined, journalLagMs: undefined });
    const before = capture.head;
    await sleep(200);
    expect(capture.head, "nobody reads, so nothing is measured").toBe(before);

    const readUntil = performance.now() + 1_000;
    while (performance.now() < readUntil) {
      capture.read(0, { maxCount: 1, maxBytes: 1 });
      const { head } = capture;
      await sleep(100);
      capture.acknowledged({ durable: head, applied: head - 1 });
    }
    const journal = lags.filter((lag) => lag.kind === "journal").map((lag) => lag.ms);
    expect(journal.length).toBeGreaterThan(5);
    expect(Math.min(...journal)).toBeGreaterThanOrEqual(90);
    expect(Math.max(...journal)).toBeLessThan(1_000);
    expect(capture.report().lag.everSynced).toBe(true);

    const age = capture.report().lag.durableAgeMs ?? 0;
    await sleep(300);
    const later = capture.report().lag;
    expect(later.durableAgeMs).toBeGreaterThanOrEqual(age + 300 - timerSlackMs);
    expect(later.appliedAgeMs).toBeGreaterThanOrEqual(later.durableAgeMs ?? 0);

    const { head } = capture;
    capture.acknowledged({ durable: head, applied: head });
    await eventually(() => expect(capture.report().lag.durableAgeMs).toBeLessThan(500));
  } finally {
    stopping.abort();
    await running;
  }
});

test("watches whose connections went silent are begun anew soon after the API server is back", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  const link = await startFlakyLink(kubeconfigs().east, join(folder, "kubeconfig"));
  const through = await startSource(link.kubeconfigPath);
  try {
    const follower = through.capture(ns, selecting({ namespaces: { names: [ns] } }), { canaryIntervalMs: 200 });
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space)));
    link.stall();
    const object = configMap(ns, "later");
    await east.writer.apply(object);
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, object)), 25_000);
  } finally {
    await through.stop();
    link.stop();
  }
});
