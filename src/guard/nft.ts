import { isIPv4 } from "node:net";

/**
 * The text that nft is given. Two sets per address family: the pods that are gated at all, and those that may talk,
 * each with an end. A packet from or to a gated pod that is not among the living is dropped. The kernel takes elements
 * out by itself when their time is up, so the cut needs no process.
 */

export const tableName = "lifeboat_guard";

/** `inet` sees what is routed; `bridge` also what never leaves a bridge of pods, where the kernel has it. */
export type Family = "inet" | "bridge";

/** Makes the table where it is missing; what its sets hold stays. */
export function setupScript(family: Family): string {
  const table = `${family} ${tableName}`;
  const hooks = family === "inet" ? ["forward", "input", "output"] : ["forward"];
  return [
    `add table ${table}`,
    `add set ${table} gated4 { type ipv4_addr; }`,
    `add set ${table} gated6 { type ipv6_addr; }`,
    `add set ${table} alive4 { type ipv4_addr; flags timeout; }`,
    `add set ${table} alive6 { type ipv6_addr; flags timeout; }`,
    `add chain ${table} cut`,
    `flush chain ${table} cut`,
    `add rule ${table} cut ip saddr @gated4 ip saddr != @alive4 counter drop`,
    `add rule ${table} cut ip daddr @gated4 ip daddr != @alive4 counter drop`,
    `add rule ${table} cut ip6 saddr @gated6 ip6 saddr != @alive6 counter drop`,
    `add rule ${table} cut ip6 daddr @gated6 ip6 daddr != @alive6 counter drop`,
    // Before what others filter: an accept elsewhere does not undo a drop here, but costs nothing to avoid.
    ...hooks.flatMap((hook) => [
      `add chain ${table} ${hook} { type filter hook ${hook} priority -10; policy accept; }`,
      `flush chain ${table} ${hook}`,
      `add rule ${table} ${hook} jump cut`,
    ]),
    "",
  ].join("\n");
}

export function removeScript(family: Family): string {
  return `add table ${family} ${tableName}\ndelete table ${family} ${tableName}\n`;
}

/** Shortest time that is worth an element. */
const aliveMinMs = 1;

/** Replaces what the sets hold, in one step: `aliveMs` per gated address, 0 or less for one that is cut. */
export function refreshScript(family: Family, gated: ReadonlyMap<string, number>): string {
  const table = `${family} ${tableName}`;
  const lines: string[] = [];
  for (const [version, belongs] of [
    ["4", isIPv4],
    ["6", (address: string) => !isIPv4(address)],
  ] as const) {
    const own = [...gated].filter(([address]) => belongs(address));
    const alive = own.filter(([, ms]) => ms >= aliveMinMs);
    lines.push(`flush set ${table} gated${version}`, `flush set ${table} alive${version}`);
    if (own.length > 0) lines.push(`add element ${table} gated${version} { ${own.map(([ip]) => ip).join(", ")} }`);
    if (alive.length > 0) {
      const elements = alive.map(([ip, ms]) => `${ip} timeout ${Math.floor(ms)}ms`);
      lines.push(`add element ${table} alive${version} { ${elements.join(", ")} }`);
    }
  }
  return `${lines.join("\n")}\n`;
}
