import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GroupSpecs } from "../../src/agent/group-spec.ts";
import type { AgentParts } from "../../src/agent/parts.ts";
import { PeerVersions } from "../../src/agent/peer-versions.ts";
import { isRewound } from "../../src/agent/rewind.ts";
import { GroupServing } from "../../src/agent/serving.ts";
import { systemClock } from "../../src/clock.ts";
import { agentConfigSchema } from "../../src/config/agent.ts";
import { Journal } from "../../src/journal/journal.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { eventually, makeNamespace, startSource, useSource } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** A group is taken down at a site whose API server was restored from a backup, and others run there. */

const east = useSource();

const config = agentConfigSchema.parse({
  site: "east",
  pair: "shop",
  peers: [{ site: "west" }],
  dataDir: "unused",
  tls: { cert: "c", key: "k", ca: "a" },
});

test("what is taken down is read as it is now, and the others go on waiting for a person's word", async () => {
  const ns = east.fresh();
  await makeNamespace(east.writer, ns);
  await east.writer.apply({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "here", namespace: ns } });
  await eventually(() => expect(east.source.pool.versions().get("/Namespace/")).toMatch(/^\d+$/));
  const seen = east.source.pool.versions();
  const ahead = new Map([...seen].map(([id, version]) => [id, String(Number(version) + 1_000_000)]));
  const source = await startSource(kubeconfigs().east, { versions: ahead });
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-restored-"));
  const journal = Journal.open({ path: join(folder, "g.db"), group: ns });
  const { client, discovery, pool, signal } = source;
  let runsOthers = true;
  const parts: Partial<AgentParts> = {
    client,
    discovery,
    pool,
    config,
    peerVersions: new PeerVersions(),
    mayFollowRestored: () => !runsOthers,
    clock: systemClock,
    random: Math.random,
  };
  const common = { name: ns, journal, log: silentLog, signal };
  const specs = new GroupSpecs({
    ...common,
    site: "east",
    problem: () => "",
    onTaken: () => undefined,
  });
  specs.observe({
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: ns },
    spec: { sites: [{ name: "east" }, { name: "west" }], select: { namespaces: { names: [ns] } } },
  });
  const serving = new GroupServing({
    ...common,
    parts: parts as AgentParts,
    specs,
    epoch: () => "1.1",
    lacking: () => new Map(),
    versions: () => undefined,
    holderOf: () => undefined,
    onChange: () => undefined,
  });
  const keys = async () => (await serving.localObjects({ signal: AbortSignal.timeout(60_000) })).map(({ key }) => key);
  try {
    await eventually(() => expect(isRewound(pool)).toBe(true));
    expect(await keys()).toContain(`/ConfigMap/${ns}/here`);
    expect(isRewound(pool)).toBe(true);
    await expect(serving.finalDigest({ signal })).rejects.toMatchObject({ hint: `lifeboat accept-rewind ${ns}` });
    runsOthers = false;
    expect(await keys()).toContain(`/ConfigMap/${ns}/here`);
    expect(isRewound(pool)).toBe(false);
  } finally {
    await serving.stopCapture();
    await source.stop();
    journal.close();
    await rm(folder, { recursive: true });
  }
});
