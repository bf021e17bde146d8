/** The process that delays a place's connections: `delaymain.ts '[{"listenPort","host","port","delayMs"}]'`. */
import { openDelayLine } from "./delayline.ts";

interface Line {
  readonly listenPort: number;
  readonly host: string;
  readonly port: number;
  readonly delayMs: number;
}

const lines = JSON.parse(process.argv[2] ?? "[]") as Line[];
await Promise.all(lines.map(async (line) => openDelayLine(line)));
console.log("ready");
