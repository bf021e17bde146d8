import { describe, expect, it } from "vitest";
import { lifeboat } from "./terminal.ts";

const verbs = [
  "status",
  "failover",
  "switchover",
  "failback",
  "abort",
  "pause",
  "resume",
  "divergence",
  "diff",
  "render",
  "deletes confirm",
  "accept-rewind",
  "purge",
  "check",
  "agent",
  "witness",
  "guard",
];

describe("help", () => {
  it.each(verbs)("of %s says what it does, and shows it with an example", async (verb) => {
    const { code, out, err } = await lifeboat(...verb.split(" "), "--help");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/^Usage: lifeboat [^\n]+\n\n[A-Z][^\n]{30,}/);
    expect(out).toMatch(new RegExp(`\nExamples?:\n  lifeboat ${verb} [^\n]*(shop|--config|-f)`));
  });

  it("of the program lists every verb in one line each, and the exit codes", async () => {
    const { out } = await lifeboat("--help");
    for (const verb of verbs) expect(out).toMatch(new RegExp(`\n  ${verb.split(" ")[0]} .*\\w`));
    expect(out).toContain("Exit codes: 0 done");
    const listed = [...out.matchAll(/\n  ([a-z-]+) /g)].map(([, verb]) => verb);
    const known = new Set([...verbs.map((verb) => verb.split(" ")[0]), "help"]);
    expect(listed.filter((verb) => verb !== undefined && !known.has(verb))).toEqual([]);
  });
});
