import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Journal } from "../../../src/journal/journal.ts";
import { batch, change, never, rejection, scratchFolder } from "./helpers.ts";

const child = fileURLToPath(new URL("crash-child.ts", import.meta.url));

test("a process killed in the middle of commits loses nothing it acknowledged, and no batch is there in part", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  for (let round = 0; round < 8; round++) {
    const acknowledged = await killedAfter(path, 20 + round * 13);
    const journal = Journal.open({ path, group: "shop" });
    const position = journal.position()?.seq ?? 0;
    expect(position).toBeGreaterThanOrEqual(acknowledged);
    expect(position % 3).toBe(0);
    let newest = 0;
    for (const [key, head] of journal.entries()) {
      expect(journal.read(key)?.object).toContain(`"${String(head.seq).repeat(300)}"`);
      newest = Math.max(newest, head.seq);
    }
    expect(newest).toBe(position);
    journal.close();
  }
});

/** Runs the child until it has acknowledged `commits` more batches, then kills it; returns what it acknowledged last. */
function killedAfter(path: string, commits: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [child, path], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    process_.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.split("\n").length > commits) process_.kill("SIGKILL");
    });
    process_.on("error", reject);
    process_.on("close", () => resolve(Number(text.trimEnd().split("\n").at(-1))));
  });
}

test.skipIf(process.getuid?.() !== 0)("a disk that is full refuses commits until there is space again", async () => {
  using folder = scratchFolder();
  const mount = folder.path("disk");
  mkdirSync(mount);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
  try {
    const journal = Journal.open({ path: `${mount}/shop.db`, group: "shop" });
    await journal.commit(batch([change(1, "kept", "x")]), { signal: never });
    writeFileSync(`${mount}/ballast`, Buffer.alloc(700_000));
    let seq = 1;
    let refused: unknown;
    for (;;) {
      const record = change(seq + 1, `n${seq + 1}`, "x".repeat(3000));
      refused = await rejection(journal.commit(batch([record]), { signal: never }));
      if (refused !== undefined) break;
      seq++;
    }
    expect(refused).toMatchObject({ code: "JournalFull", retryable: true });
    expect(journal.position()?.seq).toBe(seq);
    rmSync(`${mount}/ballast`);
    await journal.commit(batch([change(seq + 1, "after", "x")]), { signal: never });
    journal.close();
    const again = Journal.open({ path: `${mount}/shop.db`, group: "shop" });
    expect([again.position()?.seq, again.size]).toEqual([seq + 1, seq + 1]);
    again.close();
  } finally {
    execFileSync("umount", [mount]);
  }
});
