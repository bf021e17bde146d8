/** Faults as words: `site-off east for 600`, `cut east>west for 60`, `delay west>witness 2000 for 30`. */
import type { Fault } from "./faults.ts";

/** The one place that knows which words a kind takes, in their order; `for` is always last. */
const shapes: Readonly<Record<Fault["kind"], readonly string[]>> = {
  cut: ["link", "forMs"],
  "cut-both": ["link", "forMs"],
  isolate: ["site", "forMs"],
  deaf: ["site", "forMs"],
  mute: ["site", "forMs"],
  delay: ["link", "ms", "forMs"],
  loss: ["link", "share", "forMs"],
  "site-off": ["site", "forMs"],
  "node-reboot": ["site", "index", "forMs"],
  "node-cut": ["site", "index", "forMs"],
  "node-freeze": ["site", "index", "forMs"],
  "node-guard": ["site", "index"],
  "node-slow": ["site", "index", "ms", "forMs"],
  "leader-freeze": ["site", "forMs"],
  "node-unguarded": ["site"],
  "agent-crash": ["site", "index", "forMs"],
  "agent-pause": ["site", "index", "forMs"],
  "leader-crash": ["site", "forMs"],
  "leader-pause": ["site", "forMs"],
  "guard-crash": ["site", "index", "forMs"],
  "api-down": ["site", "forMs"],
  "api-restore": ["site"],
  "site-restore": ["site"],
  "witness-off": ["forMs"],
  "witness-pause": ["forMs"],
  "witness-freeze": ["forMs"],
  "witness-backup": [],
  "witness-rollback": ["clockBackS"],
  "witness-lose-disk": [],
  "witness-second": ["forMs"],
  policy: ["profile"],
  "fence-cap": ["site", "cap"],
  failover: ["to", "at"],
  switchover: ["to", "at"],
  "force-fenced": ["site"],
  abort: ["site"],
  pause: ["site"],
  resume: ["site"],
  "note-lost": ["site"],
  delete: ["site"],
  create: ["site"],
};

const texts = new Set(["site", "to", "at", "profile", "cap"]);

export function parseFault(words: readonly string[]): Fault {
  const [kind = "", ...rest] = words.filter((word) => word !== "for" && word !== "to" && word !== "at");
  const shape = (shapes as Record<string, readonly string[] | undefined>)[kind];
  if (shape === undefined) throw new Error(`no such fault: ${kind}`);
  if (rest.length !== shape.length) throw new Error(`${kind} takes ${shape.join(", ")}`);
  const fault: Record<string, unknown> = { kind };
  shape.forEach((name, i) => {
    const word = rest[i] ?? "";
    if (name === "link") [fault["from"], fault["to"]] = word.split(">");
    else if (texts.has(name)) fault[name] = word;
    else fault[name] = Number(word) * (name === "forMs" ? 1000 : 1);
  });
  return fault as unknown as Fault;
}

/** The same, the other way: so that a failing seed can be written out as a scenario. */
export function formatFault(fault: Fault): string {
  const values = fault as unknown as Record<string, string | number>;
  const words = shapes[fault.kind].map((name) => {
    if (name === "link") return `${values["from"]}>${values["to"]}`;
    return name === "forMs" ? `for ${Number(values[name]) / 1000}` : String(values[name]);
  });
  return [fault.kind, ...words].join(" ");
}
