#!/usr/bin/env node
// Starts `lifeboat` under a Node that can run it. Plain JavaScript without dependencies, since it is what an older
// Node reads first: it checks the version and starts main.ts with the runtime pinned in package.json if need be.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
// A young generation of 4 MiB instead of 16 saves an agent of 10,000 objects some 30 MiB and costs it nothing.
const heapFlags = ["--max-semi-space-size=4"];
const main = fileURLToPath(new URL("main.ts", import.meta.url));

if (major > 24 || (major === 24 && minor >= 11)) {
  await import("./main.ts");
} else {
  const pinned = fileURLToPath(new URL(`../node_modules/node-linux-${process.arch}/bin/node`, import.meta.url));
  if (existsSync(pinned)) {
    const child = spawn(pinned, [...heapFlags, main, ...process.argv.slice(2)], { stdio: "inherit" });
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
