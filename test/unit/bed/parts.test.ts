import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAuthority } from "../../bed/certificates.ts";
import { mountsBelow } from "../../bed/cleanup.ts";
import { withFileLock } from "../../bed/filelock.ts";
import { clusterRanges, siteAddresses } from "../../bed/network.ts";
import { privateFoldersBeside } from "../../bed/places.ts";
import { planSites, programsFor } from "../../bed/plan.ts";
import { linkerFlags, toolsOfGoMod } from "../../bed/programs.ts";

test("a go.mod names its tools in a block or on a line", () => {
  expect(toolsOfGoMod("module m\ntool (\n\ta/b // why\n\tc/d\n)\nrequire (\n\tx/y v1\n)\n")).toEqual(["a/b", "c/d"]);
  expect(toolsOfGoMod("module m\n\ntool e/f/v3\n")).toEqual(["e/f/v3"]);
});

test("Kubernetes' programs are told their version, others are not", () => {
  expect(linkerFlags("require (\n\tk8s.io/kubernetes v1.36.4\n)")).toContain("gitVersion=v1.36.4");
  expect(linkerFlags("require (\n\tk8s.io/kubernetes v1.36.4\n)")).toContain("gitMinor=36");
  expect(linkerFlags("require x/y v1.0.0")).toBe("-s -w");
});

test("a certificate carries user, groups and names, and expires when asked to", async () => {
  const authority = await createAuthority("east");
  const issued = new X509Certificate(
    (await authority.issue({ commonName: "bob", organizations: ["a", "b, c"], names: ["10.0.0.1", "localhost"] }))
      .certPem,
  );
  expect(issued.subject.split("\n")).toEqual(expect.arrayContaining(["CN=bob", "O=a", "O=b\\, c"]));
  expect(issued.subjectAltName).toBe("IP Address:10.0.0.1, DNS:localhost");
  expect(issued.verify(new X509Certificate(authority.certPem).publicKey)).toBe(true);
  const expired = new X509Certificate((await authority.issue({ commonName: "bob", expired: true })).certPem);
  expect(Date.parse(expired.validTo)).toBeLessThan(Date.now());
});

test("no two sites share an address or a range", () => {
  const sites = Array.from({ length: 20 }, (_, index) => ({ ...siteAddresses(3, index), ...clusterRanges(index) }));
  const all = sites.flatMap((site) => [site.site, site.agent, site.services, site.pods]);
  expect(new Set(all).size).toBe(all.length);
});

test("options of a site stand before those of the bed", () => {
  const [east, west] = planSites(
    { nodes: "none", sites: ["east", { name: "west", nodes: "simulated", emulatedVersion: "1.33" }] },
    "loopback",
  );
  expect(east).toMatchObject({ name: "east", index: 0, nodes: "none", controllers: true });
  expect(west).toMatchObject({ name: "west", index: 1, nodes: "simulated", emulatedVersion: "1.33" });
  expect(programsFor([east, west].flatMap((plan) => plan ?? []))).toEqual([
    "etcd",
    "kube-apiserver",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
  ]);
});

test("a place hides no folder in which its programs have files", () => {
  expect(privateFoldersBeside(["/home/me/.cache/beds", "/usr/bin/node"])).toEqual(["/run", "/var/log", "/var/lib"]);
  expect(privateFoldersBeside(["/var/lib/me/.cache/beds"])).toEqual(["/run", "/var/log"]);
});

test("mounts below a folder are found deepest first, with spaces in their names", () => {
  const line = (path: string): string => `30 1 0:5 / ${path} rw - tmpfs tmpfs rw`;
  const info = [line("/b/one"), line("/bed"), line("/b"), line("/b/one/t\\040wo")].join("\n");
  expect(mountsBelow(info, "/b")).toEqual(["/b/one/t wo", "/b/one", "/b"]);
});

test("a lock is held by one at a time, and not by the dead", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-lock-"));
  try {
    const path = join(folder, "lock");
    await writeFile(path, JSON.stringify({ pid: 2 ** 22, startTicks: "1", bootId: "another boot" }));
    let inside = 0;
    let most = 0;
    const enter = async (): Promise<void> =>
      withFileLock(path, {}, async () => {
        inside += 1;
        most = Math.max(most, inside);
        await new Promise((resolve) => setTimeout(resolve, 10));
        inside -= 1;
      });
    await Promise.all([enter(), enter(), enter()]);
    expect(most).toBe(1);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
