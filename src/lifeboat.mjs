#!/usr/bin/env node
// Starts `lifeboat` under a Node that can run it, with the memory settings of a process that stays. Plain JavaScript
// without dependencies, since it is what an older Node reads first.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

// What an agent of 10,000 objects holds is some 50 MiB; the rest is garbage that V8 and the C library keep for later.
// A young generation of 4 MiB instead of 16, and an old one that is collected when it has grown by a third instead of
// several times: at no cost that can be measured, a first sync leaves 150 MiB less behind.
const flags = ["--max-semi-space-size=4", "--heap-growing-percent=30", "--disable-warning=ExperimentalWarning"];
// Buffers of 64 KiB and more come from the kernel and go back to it, and two arenas serve all threads.
const allocator = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "65536", MALLOC_TRIM_THRESHOLD_: "65536" };
/** Verbs that run until they are told to stop. */
const services = new Set(["agent", "witness", "guard"]);

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const fits = major > 24 || (major === 24 && minor >= 11);
const main = fileURLToPath(new URL("main.ts", import.meta.url));
const argv = [...flags, ...process.execArgv, main, ...process.argv.slice(2)];
const env = { ...allocator, ...process.env };

if (fits && services.has(process.argv[2] ?? "") && process.execve !== undefined && process.platform !== "win32") {
  // The same process with other settings: whoever supervises it notices nothing.
  process.execve(process.execPath, [process.execPath, ...argv], env);
} else if (fits) {
  await import("./main.ts");
} else {
  const pinned = fileURLToPath(new URL(`../node_modules/node-linux-${process.arch}/bin/node`, import.meta.url));
  if (existsSync(pinned)) {
    const child = spawn(pinned, argv, { stdio: "inherit", env });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
    child.on("exit", (code, signal) => {
      process.exitCode = code ?? (signal === null ? 1 : 128);
    });
  } else {
    console.error(`lifeboat needs Node 24.11 or newer; this is ${process.versions.node}.`);
    console.error("Hint: run `npm ci` in Lifeboat's folder, which brings its own Node, or install a newer one.");
    process.exitCode = 1;
  }
}
