import { Journal } from "../../../src/journal/journal.ts";
import { batch, change, never } from "./helpers.ts";

/** Commits as fast as it can and prints each acknowledged sequence number, until it is killed. */
const path = process.argv[2] ?? "";
const journal = Journal.open({ path, group: "shop" });
const start = journal.position()?.seq ?? 0;
for (let seq = start + 1; ; seq += 3) {
  const records = [seq, seq + 1, seq + 2].map((n) => change(n, `n${n % 50}`, `${n}`.repeat(300)));
  await journal.commit(batch(records), { signal: never });
  process.stdout.write(`${seq + 2}\n`);
}
