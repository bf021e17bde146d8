/**
 * Which packets are lost, as nftables rules. Pure: cuts between endpoints → directed cuts between addresses → the whole
 * rule set of one place, so that applying it twice is the same as once.
 */

/** `drop`: a cable that was pulled; `reset`: a middlebox that refuses. */
export type CutMode = "drop" | "reset";

/** What is lost between `a` and `b`: everything, only what `a` sends, or only what `b` sends. */
export type Direction = "both" | "forth" | "back";

/** A cut as it was asked for. */
export interface Cut {
  readonly a: string;
  readonly b: string;
  readonly direction: Direction;
  readonly mode: CutMode;
}

/** Packets from one address to another are lost. */
export interface DirectedCut {
  readonly from: string;
  readonly to: string;
  readonly mode: CutMode;
}

/** Resolves an endpoint to the addresses that it stands for. */
export type Resolve = (endpoint: string) => readonly string[];

/**
 * Every pair of addresses that a list of cuts separates. An agent is part of its site; a cut between the two separates
 * the agent from the rest of it.
 */
export function directedCuts(cuts: readonly Cut[], resolve: Resolve): DirectedCut[] {
  return cuts.flatMap(({ a, b, direction, mode }) => {
    const [ofA, ofB] = apart(resolve(a), resolve(b));
    const forth = pairs(ofA, ofB).map(([from, to]) => ({ from, to, mode }));
    const back = pairs(ofB, ofA).map(([from, to]) => ({ from, to, mode }));
    return [...(direction === "back" ? [] : forth), ...(direction === "forth" ? [] : back)];
  });
}

function apart(a: readonly string[], b: readonly string[]): [readonly string[], readonly string[]] {
  const onlyA = a.filter((address) => !b.includes(address));
  const onlyB = b.filter((address) => !a.includes(address));
  // One holds the other: what both share belongs to the smaller one.
  if (onlyA.length === 0) return [a, onlyB];
  if (onlyB.length === 0) return [onlyA, b];
  return [onlyA, onlyB];
}

function pairs(from: readonly string[], to: readonly string[]): [string, string][] {
  return from.flatMap((one) => to.map((other): [string, string] => [one, other]));
}

function table(family: string, chains: readonly string[]): string {
  const name = `${family} bed_faults`;
  // Declared, deleted and declared anew in one transaction: no packet passes in between.
  return `table ${name}\ndelete table ${name}\ntable ${name} {\n${chains.join("")}}\n`;
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return `  chain ${name} {\n    ${hook}\n${rules.map((rule) => `    ${rule}\n`).join("")}  }\n`;
}

/**
 * The rule set of the place at `address`. Packets are dropped where they arrive, as by a cut cable: a sender that is
 * told would behave otherwise. What the place sends to the host is dropped here, since the host's rules are not ours.
 * Resets come from the sender's own side, so that they arrive whatever else is cut.
 */
export function ruleSet(address: string, host: string, cuts: readonly DirectedCut[]): string {
  const arriving = cuts.filter((cut) => cut.to === address);
  const leaving = cuts.filter((cut) => cut.from === address);
  const lostOnArrival = arriving.filter((cut) => !(cut.mode === "reset" && cut.from === host));
  const lostOnLeaving = leaving.filter((cut) => cut.mode === "drop" && cut.to === host);
  const refused = leaving.filter((cut) => cut.mode === "reset").map((cut) => `ip daddr ${cut.to} ${refuse}`);
  const refusedHost = arriving
    .filter((cut) => cut.mode === "reset" && cut.from === host)
    .map((cut) => `iifname "eth0" ip saddr ${cut.from} ${refuse}`);
  const answersPass = "tcp flags & rst == rst accept";
  return [
    table("netdev", [
      chain(
        "arriving",
        'type filter hook ingress device "eth0" priority 0;',
        lostOnArrival.map((cut) => `ip saddr ${cut.from} drop`),
      ),
      chain(
        "leaving",
        'type filter hook egress device "eth0" priority 0;',
        lostOnLeaving.map((cut) => `ip daddr ${cut.to} drop`),
      ),
    ]),
    table("inet", [
      chain("output", "type filter hook output priority 0;", [answersPass, ...refused]),
      chain("forward", "type filter hook forward priority 0;", [answersPass, ...refused, ...refusedHost]),
      chain("input", "type filter hook input priority 0;", refusedHost),
    ]),
  ].join("");
}

const refuse = "meta l4proto tcp reject with tcp reset";
