import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { LifeboatError } from "../../../src/errors.ts";
import { judge } from "../../demo/chapters/judge.ts";
import { tell, type Chapter, type Story } from "../../demo/screen.ts";
import { Stage } from "../../demo/stage.ts";

const { signal } = new AbortController();

/** What a story puts on the screen. */
async function told(story: Story, stage: Stage): Promise<string> {
  const lines: string[] = [];
  await tell(story, {
    terminal: false,
    print: (line) => lines.push(line),
    failed: (title, error) => stage.failed(title, error),
    signal,
  });
  return lines.join("\n");
}

function chapter(title: string, run: () => Promise<string>): Chapter {
  return { title, run };
}

const works = chapter("Two clusters", async () => "Two clusters, up");
const times = chapter("Protecting it", async () => {
  throw new LifeboatError("Timeout", "group demo at west applied: not within 180 s");
});

test("whichever chapter fails, the verdict and the list are told, and the result has null for what was not measured", async () => {
  const stage = new Stage({ nodes: "simulated", watchMs: 1_000, signal });
  stage.reports.push({ object: "apps/Deployment/shop/web", reason: "not at east: quota" });
  let wentOn = false;
  const after = chapter("SIGKILL of all of east", async () => {
    wentOn = true;
    return "";
  });
  const ending: Chapter = { title: "Verdict", run: async (step) => judge(stage, step) };
  const screen = await told({ chapters: [works, times, after], ending }, stage);
  expect(wentOn).toBe(false);
  expect(screen).toContain("✘ Protecting it: group demo at west applied: not within 180 s");
  expect(screen).toContain("apps/Deployment/shop/web: not at east: quota");
  expect(screen).toMatch(/✘ Verdict: not everything held.*RPO not measured, decision never/);
  expect(stage.passed).toBe(false);
  expect(stage.result).toEqual({
    objects: null,
    notReplicated: [{ object: "apps/Deployment/shop/web", reason: "not at east: quota" }],
    journalLagMs: { p50: null, p99: null },
    applyLagMs: { p50: null, p99: null },
    acknowledged: null,
    lostChanges: null,
    rpoMs: null,
    decisionMs: null,
    rtoMs: null,
    timeline: [],
    bothActiveMs: null,
    checks: [{ name: "Protecting it", ok: false, detail: "group demo at west applied: not within 180 s" }],
  });
});

test("an ending that fails is told too, and does not pass", async () => {
  const stage = new Stage({ nodes: "simulated", watchMs: 1_000, signal });
  stage.check("west equals what its journal held", true, "");
  const ending = chapter("Verdict", async () => {
    throw new Error("west is gone");
  });
  expect(await told({ chapters: [works], ending }, stage)).toContain("✘ Verdict: west is gone");
  expect(stage.passed).toBe(false);
});

test("one check that does not hold is enough to fail, and without any nothing has passed", () => {
  const stage = new Stage({ nodes: "simulated", watchMs: 1_000, signal });
  expect(stage.passed).toBe(false);
  stage.check("west equals what its journal held", true, "20 objects");
  expect(stage.passed).toBe(true);
  stage.check("everything that was ready at east is ready at west", false, "apps/Deployment/shop/web");
  expect(stage.passed).toBe(false);
});

test("a pipe is not coloured, whatever CI and FORCE_COLOR say", async () => {
  const module = new URL("../../demo/colours.ts", import.meta.url).href;
  const script = `const { colours } = await import(${JSON.stringify(module)}); console.log(colours.red("x"));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    env: { ...process.env, CI: "true", FORCE_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "close")]);
  expect(output).toBe("x\n");
});
