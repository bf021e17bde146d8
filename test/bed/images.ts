/** Container images made from files of this machine: there is no registry to pull from. */
import { createHash } from "node:crypto";
import {
  access,
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "./command.ts";
import { cacheHome } from "./home.ts";

/** One file of an image: copied from the machine, written, or a symbolic link. */
export type ImageFile =
  | { readonly copy: string }
  | { readonly text: string; readonly executable?: boolean }
  | { readonly link: string };

export interface ImageSpec {
  /** With tag, e.g. `bed.local/agnhost:1`. Pods name it with `imagePullPolicy: Never`. */
  readonly name: string;
  /** By absolute path in the image. */
  readonly files: Readonly<Record<string, ImageFile>>;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: readonly string[];
}

/** An image as a docker archive in the user's cache. */
export interface LocalImage {
  readonly name: string;
  readonly archive: string;
}

/** Images that every site with a real node has. */
export const agnhostImage = "bed.local/agnhost:1";
export const busyboxImage = "bed.local/busybox:1";

/** agnhost: HTTP server, netexec, and, with its default command, the pause container of every Pod. */
export function agnhostSpec(program: string): ImageSpec {
  return {
    name: agnhostImage,
    files: { "/agnhost": { copy: program }, "/tmp/.keep": { text: "" } },
    entrypoint: ["/agnhost"],
    command: ["pause"],
  };
}

/** busybox: a shell and its tools, for Pods that write files. */
export async function busyboxSpec(program = "/bin/busybox"): Promise<ImageSpec> {
  const applets = (await run([program, "--list"])).trim().split("\n");
  const links = applets
    .filter((applet) => applet !== "busybox")
    .map((applet) => [`/bin/${applet}`, { link: "busybox" }]);
  return {
    name: busyboxImage,
    files: {
      "/bin/busybox": { copy: program },
      ...(Object.fromEntries(links) as Record<string, ImageFile>),
      "/etc/passwd": { text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n" },
      "/etc/group": { text: "root:x:0:\nnogroup:x:65534:\n" },
      "/tmp/.keep": { text: "" },
    },
    command: ["sh"],
    env: ["PATH=/bin"],
  };
}

async function keyOf(spec: ImageSpec): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(spec));
  for (const file of Object.values(spec.files)) {
    if (!("copy" in file)) continue;
    const info = await stat(file.copy);
    hash.update(`${info.size} ${info.mtimeMs}`);
  }
  return hash.digest("hex").slice(0, 16);
}

/** Makes an image, or finds it in the cache. Its layer depends on the files' contents alone. */
export async function localImage(spec: ImageSpec): Promise<LocalImage> {
  const folder = join(cacheHome(), "images");
  const archive = join(folder, `${spec.name.replaceAll(/[^a-z0-9.-]/gi, "_")}-${await keyOf(spec)}.tar`);
  const made = await access(archive).then(
    () => true,
    () => false,
  );
  if (made) return { name: spec.name, archive };
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, ".making-"));
  try {
    await writeArchive(spec, work);
    await rename(join(work, "image.tar"), archive);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { name: spec.name, archive };
}

async function placeFile(path: string, file: ImageFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if ("copy" in file) {
    await copyFile(file.copy, path);
    await chmod(path, 0o755);
  } else if ("link" in file) await symlink(file.link, path);
  else await writeFile(path, file.text, { mode: file.executable === true ? 0o755 : 0o644 });
}

async function writeArchive(spec: ImageSpec, work: string): Promise<void> {
  const root = join(work, "root");
  for (const [path, file] of Object.entries(spec.files)) await placeFile(join(root, path), file);
  // A folder for anybody's temporary files, as in every image.
  if ("/tmp/.keep" in spec.files) await chmod(join(root, "tmp"), 0o1777);
  const sameForAll = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--format=gnu"];
  await run(["tar", ...sameForAll, "-C", root, "-cf", join(work, "layer.tar"), "."]);
  const digest = createHash("sha256")
    .update(await readFile(join(work, "layer.tar")))
    .digest("hex");
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Entrypoint: spec.entrypoint ?? [], Cmd: spec.command ?? [], Env: spec.env ?? [], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
    history: [{ created_by: "lifeboat test bed" }],
  };
  const manifest = [{ Config: "config.json", RepoTags: [spec.name], Layers: ["layer.tar"] }];
  await writeFile(join(work, "config.json"), JSON.stringify(config));
  await writeFile(join(work, "manifest.json"), JSON.stringify(manifest));
  await run([
    "tar",
    ...sameForAll,
    "-C",
    work,
    "-cf",
    join(work, "image.tar"),
    "manifest.json",
    "config.json",
    "layer.tar",
  ]);
}
