import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { Warden } from "../../../src/guard/warden.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

it("a pod that is kept down is let go when its namespace leaves the group, and forgotten when it is gone", async () => {
  const base = await mkdtemp(join(tmpdir(), "lifeboat-warden-"));
  const tree = { version: "v2", base, canFreeze: true } as const;
  const warden = new Warden({ tree, clock: systemClock, log: silentLog });
  const pods = ["a", "b"].map((uid) => ({ uid, namespace: "shop", name: uid, cgroup: join(base, uid) }));
  for (const { cgroup } of pods) {
    await mkdir(cgroup);
    await writeFile(join(cgroup, "cgroup.freeze"), "0");
  }
  const frozen = () => Promise.all(pods.map(({ cgroup }) => readFile(join(cgroup, "cgroup.freeze"), "utf8")));
  const [first, second] = pods;
  if (first === undefined || second === undefined) throw new Error("there are two");
  warden.inspect(pods.map((pod) => ({ pod, treatment: { type: "down" } })));
  expect(await frozen()).toEqual(["1", "1"]);
  warden.release(first);
  expect(await frozen()).toEqual(["0", "1"]);
  warden.inspect([]);
  warden.release(second);
  expect(await frozen(), "what is forgotten is nobody's to touch").toEqual(["0", "1"]);
  await rm(base, { recursive: true });
});
