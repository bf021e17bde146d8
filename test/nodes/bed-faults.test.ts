import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startBed } from "../bed/bed.ts";
import { run } from "../bed/command.ts";
import type { Bed } from "../bed/running.ts";
import { hasCode } from "../../src/errors.ts";

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({ controllers: false, install: true });
});

afterAll(async () => bed.stop());

/** A place from which something is asked for. */
type From = "host" | "witness" | "east" | "east/agent" | "west" | "west/agent";

/** Longer than anything that is not lost takes on a busy machine, shorter than patience. */
const lostAfterMs = 1_500;

interface Answer {
  readonly outcome: "answer" | "refused" | "lost";
  readonly tookMs: number;
  readonly bytes: number;
}

let count = 0;

/** Asks a site's API server for something, from a place, over a new connection. */
async function ask(from: From, site: string, path = "/readyz", limitMs = lostAfterMs): Promise<Answer> {
  return askUrl(from, `${bed.site(site).server}${path}`, limitMs);
}

/** curl's exit status for an answer that did not come in time. */
const timedOut = "28";

async function askUrl(from: From, url: string, limitMs: number): Promise<Answer> {
  const format = "%{exitcode} %{time_total} %{size_download}";
  const argv = ["curl", "-sk", "-o", "/dev/null", "-w", format, "--max-time", String(limitMs / 1000), url];
  const text = await output(from, argv);
  const [status = "", seconds = "", bytes = ""] = text.trim().split(" ");
  const failure = status === timedOut ? "lost" : "refused";
  return { outcome: status === "0" ? "answer" : failure, tookMs: Number(seconds) * 1000, bytes: Number(bytes) };
}

async function output(from: From, argv: readonly string[]): Promise<string> {
  count += 1;
  if (from === "host") return run(["sh", "-c", '"$@" || true', "sh", ...argv]);
  const [site = "", part] = from.split("/");
  const name = `ask-${count}`;
  const asking =
    from === "witness"
      ? bed.spawnWitness(name, argv)
      : bed.site(site).spawn(name, argv, { network: part === "agent" ? "agent" : "site" });
  await asking.exited;
  return asking.log();
}

async function outcomes(...pairs: readonly (readonly [From, string])[]): Promise<string[]> {
  const answers = await Promise.all(pairs.map(async ([from, site]) => ask(from, site)));
  return pairs.map(([from, site], at) => `${from} → ${site}: ${answers[at]?.outcome}`);
}

describe("partition", () => {
  afterEach(async () => bed.faults.heal());

  test("between two sites cuts both, agents included, and nobody else", async () => {
    await bed.faults.partition("east", "west");
    expect(
      await outcomes(
        ["east", "west"],
        ["east/agent", "west"],
        ["west/agent", "east"],
        ["east/agent", "east"],
        ["witness", "west"],
        ["host", "east"],
      ),
    ).toEqual([
      "east → west: lost",
      "east/agent → west: lost",
      "west/agent → east: lost",
      "east/agent → east: answer",
      "witness → west: answer",
      "host → east: answer",
    ]);
    await bed.faults.heal("west", "east");
    expect(await outcomes(["east", "west"], ["west/agent", "east"])).toEqual([
      "east → west: answer",
      "west/agent → east: answer",
    ]);
  });

  test("cuts an agent off from its own API server alone", async () => {
    await bed.faults.partition("east/agent", "east");
    expect(await outcomes(["east/agent", "east"], ["east/agent", "west"], ["east", "east"], ["host", "east"])).toEqual([
      "east/agent → east: lost",
      "east/agent → west: answer",
      "east → east: answer",
      "host → east: answer",
    ]);
  });

  test("cuts the witness and the host off", async () => {
    await bed.faults.partition("witness", "west");
    await bed.faults.partition("host", "east");
    expect(await outcomes(["witness", "west"], ["witness", "east"], ["host", "east"], ["host", "west"])).toEqual([
      "witness → west: lost",
      "witness → east: answer",
      "host → east: lost",
      "host → west: answer",
    ]);
  });

  test("by reset is noticed at once", async () => {
    await bed.faults.partition("east/agent", "west", { mode: "reset" });
    await bed.faults.partition("host", "west", { mode: "reset" });
    expect(await outcomes(["east/agent", "west"], ["host", "west"], ["east", "west"])).toEqual([
      "east/agent → west: refused",
      "host → west: refused",
      "east → west: answer",
    ]);
  });

  test("in one direction loses packets of one side only", async () => {
    const west = bed.site("west");
    // UDP tells the directions apart, which no TCP connection survives.
    const received = async (from: "east" | "west", to: "east" | "west"): Promise<boolean> => {
      const listen = `const s=require("node:dgram").createSocket("udp4");s.bind(9999,()=>console.log("bound"));s.on("message",()=>{console.log("got");process.exit(0)});setTimeout(()=>process.exit(1),2000)`;
      const send = `const s=require("node:dgram").createSocket("udp4");s.send("x",9999,"${bed.site(to).agentAddress}",()=>s.close())`;
      count += 1;
      const listener = bed.site(to).spawn(`listen-${count}`, [process.execPath, "-e", listen]);
      while (!(await listener.log()).includes("bound")) await sleep(20);
      await bed.site(from).spawn(`send-${count}`, [process.execPath, "-e", send]).exited;
      return (await listener.exited).code === 0;
    };
    expect(west.agentAddress).not.toBe(west.address);
    await bed.faults.partition("east", "west", { direction: "forth" });
    expect(await received("east", "west")).toBe(false);
    expect(await received("west", "east")).toBe(true);
    await bed.faults.heal();
    await bed.faults.partition("east", "west", { direction: "back" });
    expect(await received("east", "west")).toBe(true);
    expect(await received("west", "east")).toBe(false);
  });

  test("stays while a site is killed and restored", async () => {
    await bed.faults.partition("east", "west");
    await bed.faults.kill("east");
    await bed.faults.restore("east");
    expect(await outcomes(["east/agent", "west"], ["witness", "east"])).toEqual([
      "east/agent → west: lost",
      "witness → east: answer",
    ]);
  });

  test("of something unknown is refused", async () => {
    await expect(bed.faults.partition("east", "north")).rejects.toMatchObject({ code: "NotFound" });
    await expect(bed.faults.partition("east/x", "west")).rejects.toMatchObject({ code: "NotFound" });
    expect((await bed.faults.inForce()).cuts).toEqual([]);
  });
});

test("a paused API server answers nothing, and goes on where it was", async () => {
  await bed.faults.pause("east/kube-apiserver");
  expect(await outcomes(["host", "east"], ["east/agent", "west"])).toEqual([
    "host → east: lost",
    "east/agent → west: answer",
  ]);
  await bed.faults.resume("east/kube-apiserver");
  expect(await outcomes(["host", "east"])).toEqual(["host → east: answer"]);
});

test("a paused site halts as a whole, its agent included, and can be killed", async () => {
  const script = "let n=0;setInterval(()=>console.log(++n),20)";
  const agent = bed.site("west").spawn("agent", [process.execPath, "-e", script]);
  const lines = async (): Promise<number> => (await agent.log()).split("\n").length;
  const grows = async (): Promise<boolean> => {
    const before = await lines();
    await sleep(300);
    return (await lines()) > before;
  };
  while ((await lines()) < 3) await sleep(20);
  await bed.faults.pause("west");
  expect(await grows()).toBe(false);
  expect(await outcomes(["host", "west"])).toEqual(["host → west: lost"]);
  await bed.faults.resume("west");
  expect(await grows()).toBe(true);

  await bed.faults.pause("west/agent");
  expect(await grows()).toBe(false);
  expect(await outcomes(["host", "west"])).toEqual(["host → west: answer"]);
  await bed.faults.pause("west");
  await bed.faults.kill("west");
  expect(await agent.exited).not.toEqual({ code: 0, signal: null });
  await bed.faults.restore("west");
  expect(await outcomes(["host", "west"])).toEqual(["host → west: answer"]);
});

test("one process is killed alone", async () => {
  const agent = bed.site("east").spawn("agent", ["sleep", "1000"]);
  const witness = bed.spawnWitness("witness", ["sleep", "1000"]);
  await bed.faults.kill("east/agent");
  await agent.exited;
  await bed.faults.kill("witness");
  await witness.exited;
  expect(await outcomes(["host", "east"], ["witness", "east"])).toEqual([
    "host → east: answer",
    "witness → east: answer",
  ]);
  await expect(bed.faults.kill("east/agent")).rejects.toSatisfy((error) => hasCode(error, "NotFound"));
  await expect(bed.faults.restore("east")).rejects.toSatisfy((error) => hasCode(error, "ConfigInvalid"));
});

test("a delay makes new connections late each way, in both directions, until it ends", async () => {
  const delayMs = 60;
  await bed.faults.delay("east", "west", delayMs);
  // Two crossings each for the handshakes of TCP and TLS, and for the request.
  const late = await ask("east/agent", "west", "/readyz", 5_000);
  const lateBack = await ask("west", "east", "/readyz", 5_000);
  const other = await ask("witness", "west");
  expect(late.outcome).toBe("answer");
  expect(late.tookMs).toBeGreaterThanOrEqual(6 * delayMs);
  expect(lateBack.tookMs).toBeGreaterThanOrEqual(6 * delayMs);
  expect(other.tookMs).toBeLessThan(2 * delayMs);
  await bed.faults.delay("east", "west", 0);
  expect((await ask("east/agent", "west")).tookMs).toBeLessThan(2 * delayMs);
});

test("bandwidth limits what a site sends", async () => {
  const bytes = 2_000_000;
  const serve = `require("node:http").createServer((q,r)=>r.end(Buffer.alloc(${bytes}))).listen(8080,()=>console.log("up"))`;
  const server = bed.site("west").spawn("bulk", [process.execPath, "-e", serve]);
  while (!(await server.log()).includes("up")) await sleep(20);
  const fetchIt = async (): Promise<Answer> =>
    askUrl("witness", `http://${bed.site("west").agentAddress}:8080/`, 20_000);
  const mbit = 20;
  const limitedMs = (bytes * 8) / (mbit * 1_000);

  expect((await fetchIt()).tookMs).toBeLessThan(limitedMs / 2);
  await bed.faults.bandwidth("west", mbit);
  const limited = await fetchIt();
  expect(limited.bytes).toBe(bytes);
  expect(limited.tookMs).toBeGreaterThan(limitedMs * 0.7);
  await bed.faults.bandwidth("west", null);
  expect((await fetchIt()).tookMs).toBeLessThan(limitedMs / 2);
  await server.stop();
});
