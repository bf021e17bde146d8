import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../bed/command.ts";
import { ensurePrograms } from "../bed/programs.ts";
import { ensureTools, missingPackages } from "../bed/tools.ts";

/** An empty cache of its own. */
let cache = "";

/** The environment with that cache, and with the user's own cache of compiled packages. */
let env: NodeJS.ProcessEnv = {};

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "lifeboat-programs-"));
  const compiled = (await run(["go", "env", "GOCACHE"])).trim();
  env = { ...process.env, XDG_CACHE_HOME: cache, GOCACHE: compiled, KUBEBUILDER_ASSETS: "" };
});

afterEach(async () => {
  await rm(cache, { recursive: true, force: true });
});

test("a program is built once, though two ask for it at the same time", async () => {
  const builders = new Set<string>();
  const ask = async (who: string): Promise<Map<string, string>> =>
    ensurePrograms(["etcd"], {
      env,
      progress: (event) => {
        if (event.state === "building") builders.add(who);
      },
    });
  const [one, other] = await Promise.all([ask("one"), ask("other")]);
  expect(one).toEqual(other);
  const path = one.get("etcd") ?? "";
  expect(await run([path, "--version"])).toContain("etcd Version: 3.6.14");
  expect(await readdir(join(path, ".."))).toEqual(["etcd"]);
  expect(builders.size).toBe(1);

  const startedAtMs = performance.now();
  await ask("third");
  expect(performance.now() - startedAtMs).toBeLessThan(500);
});

test("a build that is aborted leaves no half of a program", async () => {
  const asked = ensurePrograms(["kwok"], { env, signal: AbortSignal.timeout(300) });
  await expect(asked).rejects.toThrow();
  const [folder, ...others] = await readdir(join(cache, "lifeboat", "programs"));
  expect(others).toEqual([]);
  expect(await readdir(join(cache, "lifeboat", "programs", folder ?? ""))).toEqual([]);
});

test("KUBEBUILDER_ASSETS is honoured, and said to lack what it lacks", async () => {
  const assets = join(cache, "assets");
  await mkdir(assets);
  await writeFile(join(assets, "kubectl"), "#!/bin/sh\n");
  await chmod(join(assets, "kubectl"), 0o755);
  const withAssets = { ...env, KUBEBUILDER_ASSETS: assets };
  expect((await ensurePrograms(["kubectl"], { env: withAssets })).get("kubectl")).toBe(join(assets, "kubectl"));
  await expect(ensurePrograms(["etcd"], { env: withAssets })).rejects.toMatchObject({
    code: "ToolMissing",
    message: expect.stringContaining(join(assets, "etcd")) as unknown,
  });
});

test("without Go there is one error with the line that helps", async () => {
  await expect(ensurePrograms(["etcd"], { env: { ...env, PATH: "/nonexistent" } })).rejects.toMatchObject({
    code: "ToolMissing",
    message: expect.stringContaining("go is not installed") as unknown,
    hint: expect.stringContaining("go.dev/dl") as unknown,
  });
});

test("a missing Debian package is one error with the line that installs it", async () => {
  const path = process.env["PATH"];
  process.env["PATH"] = "/nonexistent";
  try {
    const missing = await missingPackages({ isolation: "netns", realNodes: true });
    expect(missing).toEqual(expect.arrayContaining(["containerd", "util-linux", "busybox-static"]));
    const asked = ensureTools({ isolation: "netns", realNodes: true, install: false, report: () => undefined });
    await expect(asked).rejects.toMatchObject({
      code: "ToolMissing",
      hint: `apt-get install -y --no-install-recommends ${missing.join(" ")}`,
    });
  } finally {
    process.env["PATH"] = path;
  }
});

const root = fileURLToPath(new URL("../..", import.meta.url));
const canInstall = process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");

/**
 * `FOLDER REPOSITORY NODE SCRIPT`: runs the script on this machine without some packages and without package lists.
 * What is written goes to memory, and the mounts end with the process: the machine itself is not touched.
 */
const withoutPackages = `
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for each in /proc /dev "$2"; do
  mkdir -p "$1/root$each"
  mount --rbind "$each" "$1/root$each"
done
chroot "$1/root" apt-get remove -y busybox-static containernetworking-plugins >&2
rm -rf "$1/root/var/lib/apt/lists"
exec chroot "$1/root" "$3" --disable-warning=ExperimentalWarning --input-type=module --eval "$4"
`;

test.runIf(canInstall)("what is missing is installed, after saying so, also where no package lists are", async () => {
  const script = `
    import { missingPackages, ensureTools } from ${JSON.stringify(join(root, "test/bed/tools.ts"))};
    const machine = { isolation: "netns", realNodes: true };
    const before = await missingPackages(machine);
    const said = [];
    await ensureTools({ ...machine, install: true, report: (line) => said.push(line) });
    console.log(JSON.stringify({ before, said, after: await missingPackages(machine) }));`;
  const argv = ["unshare", "--mount", "sh", "-ec", withoutPackages, "sh", cache, root, process.execPath, script];
  const found = JSON.parse(await run(argv, { limitMs: 120_000 })) as unknown;
  const missing = ["containernetworking-plugins", "busybox-static"];
  expect(found).toEqual({
    before: missing,
    said: [`installing missing packages: apt-get install -y --no-install-recommends ${missing.join(" ")}`],
    after: [],
  });
});
