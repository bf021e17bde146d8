import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findCgroups, uidOfFolder } from "../../../src/guard/cgroups.ts";
import { ipv4In, ipv6In, PodFinder } from "../../../src/guard/pods.ts";

const uid = "3e2a1c4d-0b7f-4d6e-9a55-1f2e3d4c5b6a";
const other = "7f2a1c4d-0b7f-4d6e-9a55-1f2e3d4c5b6a";
/** Pods from files have a hash instead. */
const hash = "8f7e6d5c4b3a29181706f5e4d3c2b1a0";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "lifeboat-guard-"));
});

afterEach(() => rm(root, { recursive: true }));

async function folders(...paths: string[]): Promise<void> {
  for (const path of paths) await mkdir(join(root, path), { recursive: true });
}

async function finder(cgroupRoot = "/"): Promise<PodFinder> {
  await folders("cgroup");
  await writeFile(join(root, "cgroup/cgroup.controllers"), "");
  const tree = findCgroups(join(root, "cgroup"), cgroupRoot);
  return new PodFinder({ tree, podLogsDir: join(root, "logs"), bundles: join(root, "bundles") });
}

describe("the uid in the name of a pod's cgroup", () => {
  it.each([
    [`pod${uid}`, uid],
    [`kubepods-burstable-pod${uid.replaceAll("-", "_")}.slice`, uid],
    [`kubepods-pod${uid.replaceAll("-", "_")}.slice`, uid],
    [`kubelet-kubepods-besteffort-pod${uid.replaceAll("-", "_")}.slice`, uid],
    [`pod${hash}`, hash],
    ["kubepods.slice", undefined],
    ["podman", undefined],
    ["pods", undefined],
  ])("%s", (folder, expected) => {
    expect(uidOfFolder(folder)).toBe(expected);
  });
});

describe("pods are found", () => {
  it("by their cgroups and the folders of their logs, with either cgroup driver", async () => {
    const slice = `kubepods-burstable-pod${other.replaceAll("-", "_")}.slice`;
    await folders(`logs/shop_web-0_${uid}`, `logs/bank_db-0_${other}`, `logs/shop_gone_${hash}`);
    await folders(`cgroup/kubepods/besteffort/pod${uid}/container`, "cgroup/system.slice/sshd.service");
    await folders(`cgroup/kubepods.slice/kubepods-burstable.slice/${slice}`);
    const { pods, nameless } = (await finder()).scan();
    expect(pods.map(({ namespace, name, uid: id }) => `${namespace}/${name} ${id}`).sort()).toEqual([
      `bank/db-0 ${other}`,
      `shop/web-0 ${uid}`,
    ]);
    expect(nameless).toEqual([]);
  });

  it("below the kubelet's own cgroup root only", async () => {
    await folders(`logs/shop_web-0_${uid}`, `logs/bank_db-0_${other}`);
    await folders(`cgroup/kubelet/kubepods/pod${uid}`, `cgroup/kubepods/pod${other}`);
    const { pods } = (await finder("/kubelet")).scan();
    expect(pods.map(({ name }) => name)).toEqual(["web-0"]);
  });

  it("by the container runtime's bundles where somebody has removed the folder of the logs", async () => {
    await folders(`cgroup/kubepods/pod${uid}`, "bundles/abc", "bundles/broken");
    await writeFile(
      join(root, "bundles/abc/config.json"),
      JSON.stringify({
        annotations: { "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0" },
        linux: { cgroupsPath: `/kubepods/pod${uid}/abc` },
      }),
    );
    await writeFile(join(root, "bundles/broken/config.json"), "{");
    expect((await finder()).scan().pods).toMatchObject([{ namespace: "shop", name: "web-0", uid }]);
  });

  it("as long as their cgroup is there, although everything that named them has been removed since", async () => {
    await folders(`logs/shop_web-0_${uid}`, `cgroup/kubepods/pod${uid}`);
    const pods = await finder();
    pods.scan();
    await rm(join(root, "logs"), { recursive: true });
    expect(pods.scan().pods).toMatchObject([{ namespace: "shop", name: "web-0" }]);
  });

  it("and those that nobody can name are said", async () => {
    await folders(`cgroup/kubepods/pod${uid}`);
    expect((await finder()).scan()).toEqual({ pods: [], nameless: [uid] });
  });
});

it("a machine without cgroups is said, and how to help", () => {
  expect(() => findCgroups(join(root, "nothing"), "/")).toThrow(/no cgroups are mounted/);
});

describe("a pod's addresses in the kernel's tables", () => {
  it("are those that are local, but for loopback", () => {
    const table = `Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.150.0.0/24 2 0 2
        |-- 10.150.0.0
           /24 link UNICAST
        |-- 10.150.0.7
           /32 host LOCAL
        |-- 10.150.0.255
           /32 link BROADCAST
  +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
        |-- 10.150.0.7
           /32 host LOCAL`;
    expect(ipv4In(table)).toEqual(["10.150.0.7"]);
  });

  it("are global ones of IPv6", () => {
    const table = `fd000000000000000000000000000007 02 40 00 80     eth0
fe80000000000000f0ffe1fffe0b0001 02 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
`;
    expect(ipv6In(table)).toEqual(["fd00:0000:0000:0000:0000:0000:0000:0007"]);
  });
});
