/** Latency between places. This kernel need not have netem: new TCP connections are led through a delaying process. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { run } from "../command.ts";
import type { Place } from "../places.ts";
import { killProcesses, waitUntil } from "../processes.ts";

const programPath = fileURLToPath(new URL("delaymain.ts", import.meta.url));

/** Group of the delaying process, by which its own connections are told from those that it delays. */
const groupId = 64_987;

/** First of the ports on which it listens; outside the range from which the kernel takes clients' ports. */
const firstPort = 27_000;

const startLimitMs = 10_000;

/** Connections from a place to these targets are late. */
export interface Late {
  readonly host: string;
  readonly port: number;
  readonly delayMs: number;
}

/** Ports in a `/proc/net/tcp` or `tcp6` that are listened on from outside the place. */
export function listeningPorts(table: string): number[] {
  const listening = "0A";
  const ports = table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === listening)
    .map((fields) => (fields[1] ?? "").split(":"))
    .filter(([address = ""]) => !/^(?:0100007F|0{24}01000000)$/.test(address))
    .map(([, port = "0"]) => Number.parseInt(port, 16));
  return [...new Set(ports)].toSorted((a, b) => a - b);
}

/** Ports on which the namespace of process `holder` is listened to now. */
export async function openPorts(holder: number): Promise<number[]> {
  const tables = await Promise.all(
    ["tcp", "tcp6"].map(async (file) => readFile(`/proc/${holder}/net/${file}`, "utf8")),
  );
  return [...new Set(tables.flatMap(listeningPorts))];
}

/** Rules that lead a place's connections to its delaying process. */
export function redirections(lates: readonly Late[]): string {
  const rules = lates.map(
    (late, at) => `    ip daddr ${late.host} tcp dport ${late.port} redirect to :${firstPort + at}\n`,
  );
  return `table ip bed_delay
delete table ip bed_delay
table ip bed_delay {
  chain output {
    type nat hook output priority -100;
    meta skgid ${groupId} accept
${rules.join("")}  }
}
`;
}

/** Makes exactly these connections of a place late; with none, everything is as before. */
export async function applyDelays(bedDir: string, place: Place, lates: readonly Late[]): Promise<void> {
  const name = `${place.name}/delay`;
  await killProcesses(bedDir, (found) => found.name === name);
  if (lates.length > 0) {
    const lines = lates.map((late, at) => ({ ...late, listenPort: firstPort + at }));
    const argv = [process.execPath, programPath, JSON.stringify(lines)];
    const started = place.spawn(name, ["setpriv", `--regid=${groupId}`, "--keep-groups", ...argv]);
    const ready = async (): Promise<boolean> => (await started.log()).trimEnd().endsWith("ready");
    await waitUntil(`the delay of ${place.name}`, ready, { limitMs: startLimitMs, processes: [started] });
  }
  await run(place.enter(["nft", "-f", "-"]), { input: redirections(lates) });
}
