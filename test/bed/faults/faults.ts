/** Everything that can be made to go wrong in a bed; one interface for demo, tests, benches and the command line. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LifeboatError, hasCode } from "../../../src/errors.ts";
import { freeze } from "../cgroups.ts";
import { run } from "../command.ts";
import { addressOf, hostNumber, isolatedPorts, portName, witnessNumber } from "../network.ts";
import { holderOf } from "../places.ts";
import type { Place } from "../places.ts";
import { findProcesses, isWrapper, killProcesses, signalPid } from "../processes.ts";
import type { Found } from "../processes.ts";
import { writeJsonDurably } from "../record.ts";
import { addressesOf } from "../site.ts";
import type { SiteContext } from "../site.ts";
import { applyDelays, openPorts } from "./delay.ts";
import type { Late } from "./delay.ts";
import { directedCuts, ruleSet } from "./rules.ts";
import type { Cut, CutMode, Direction } from "./rules.ts";

/**
 * Endpoints are `east` (the whole site, its agent included), `east/agent` (what {@link Site.spawn} starts), `east/api`
 * (the site without its agent), `witness` and `host`. Processes are `east/kube-apiserver`, `east/agent`,
 * `witness/witness`; a site or `witness` stands for all of its processes.
 */
export interface Faults {
  /** Loses packets between two endpoints. @default both directions, drop. Needs root. */
  partition(a: string, b: string, options?: { readonly direction?: Direction; readonly mode?: CutMode }): Promise<void>;
  /** Ends the partitions between two endpoints, or all of them. */
  heal(a?: string, b?: string): Promise<void>;
  /** SIGKILL of every process of a site at once, agent and Pods included; or of one process, or of the witness's. */
  kill(target: string): Promise<void>;
  /** Starts a killed site again with the data that it had. Programs started with `spawn` are the caller's to start. */
  restore(site: string): Promise<void>;
  /** Halts a process, or everything in a site at once: it is there and answers nothing. */
  pause(target: string): Promise<void>;
  resume(target: string): Promise<void>;
  /**
   * New TCP connections between two endpoints carry every byte `delayMs` late each way; 0 ends it. It concerns the
   * API server's port, those that either endpoint listens on now, and `ports`. Needs root.
   */
  delay(a: string, b: string, delayMs: number, options?: { readonly ports?: readonly number[] }): Promise<void>;
  /** Limits what an endpoint sends and what it receives, each; `null` ends it. Needs root. */
  bandwidth(endpoint: string, mbitPerSecond: number | null): Promise<void>;
  /** What is in force, as the command line shows it. */
  inForce(): Promise<FaultState>;
}

interface Delay {
  readonly a: string;
  readonly b: string;
  readonly delayMs: number;
  readonly ports: readonly number[];
}

export interface FaultState {
  readonly cuts: readonly Cut[];
  readonly delays: readonly Delay[];
  readonly mbitPerSecond: Readonly<Record<string, number>>;
}

/** A process that has just been started shows no environment for a moment while it becomes its program. */
const looksCount = 3;
const lookEveryMs = 20;

const noFaults: FaultState = { cuts: [], delays: [], mbitPerSecond: {} };

/** What faults need from their bed. */
export interface FaultTargets {
  readonly context: SiteContext;
  /** Places that are up, by name. */
  places(): Promise<ReadonlyMap<string, Place>>;
  /** Forgets the places of a site that was killed. */
  forget(site: string): void;
  startSite(site: string): Promise<void>;
}

export class BedFaults implements Faults {
  readonly #targets: FaultTargets;

  constructor(targets: FaultTargets) {
    this.#targets = targets;
  }

  get #record(): SiteContext["record"] {
    return this.#targets.context.record;
  }

  get #path(): string {
    return join(this.#record.dir, "faults.json");
  }

  async inForce(): Promise<FaultState> {
    const text = await readFile(this.#path, "utf8").catch(() => undefined);
    return text === undefined ? noFaults : (JSON.parse(text) as FaultState);
  }

  #subnet(what: string): number {
    const { subnet } = this.#record;
    if (subnet !== null) return subnet;
    throw new LifeboatError("NeedsRoot", `${what} needs root: the sites share 127.0.0.1`, {
      hint: "run as root, where each site is a network of its own",
    });
  }

  /** Addresses of an endpoint. */
  #resolve(endpoint: string): readonly string[] {
    const subnet = this.#subnet("a fault in the network");
    if (endpoint === "host") return [addressOf(subnet, hostNumber)];
    if (endpoint === "witness") return [addressOf(subnet, witnessNumber)];
    const [site = "", part] = endpoint.split("/");
    const addresses = addressesOf(this.#record, site);
    if (part === undefined) return [addresses.site, addresses.agent];
    if (part === "agent") return [addresses.agent];
    if (part === "api") return [addresses.site];
    throw new LifeboatError("NotFound", `${endpoint} is no endpoint`, {
      hint: "SITE, SITE/agent, SITE/api, witness or host",
    });
  }

  async partition(
    a: string,
    b: string,
    { direction = "both", mode = "drop" }: { readonly direction?: Direction; readonly mode?: CutMode } = {},
  ): Promise<void> {
    directedCuts([{ a, b, direction, mode }], (endpoint) => this.#resolve(endpoint));
    await this.#change((state) => ({ ...state, cuts: [...state.cuts, { a, b, direction, mode }] }));
    await this.#applyRules();
  }

  async heal(a?: string, b?: string): Promise<void> {
    const concerns = (cut: Cut): boolean =>
      [a, b].every((endpoint) => endpoint === undefined || cut.a === endpoint || cut.b === endpoint);
    await this.#change((state) => ({ ...state, cuts: state.cuts.filter((cut) => !concerns(cut)) }));
    if (this.#record.subnet !== null) await this.#applyRules();
  }

  async #change(change: (state: FaultState) => FaultState): Promise<void> {
    await writeJsonDurably(this.#path, change(await this.inForce()));
  }

  async #applyRules(only: (place: Place) => boolean = () => true): Promise<void> {
    const subnet = this.#subnet("a partition");
    const { cuts } = await this.inForce();
    const directed = directedCuts(cuts, (endpoint) => this.#resolve(endpoint));
    const host = addressOf(subnet, hostNumber);
    const places = [...(await this.#targets.places()).values()].filter(only);
    await Promise.all(
      places.map(async (place) =>
        run(place.enter(["nft", "-f", "-"]), { input: ruleSet(place.address, host, directed) }),
      ),
    );
  }

  /** Puts what is in force into the new places of a site. */
  async reapply(site: string): Promise<void> {
    if (this.#record.subnet === null) return;
    const state = await this.inForce();
    const ofSite = ({ name }: Place): boolean => name === site || name.startsWith(`${site}/`);
    if (state.cuts.length > 0) await this.#applyRules(ofSite);
    for (const [endpoint, mbit] of Object.entries(state.mbitPerSecond)) await this.#limit(endpoint, mbit);
    if (state.delays.length > 0) await this.#applyLates(state, ofSite);
  }

  async kill(target: string): Promise<void> {
    const { record } = this.#targets.context;
    const isSite = record.sites.some((site) => site.name === target);
    const selected = selector(target, isSite);
    const found = await this.#select(target, selected);
    if (isSite) await this.#unplug(target);
    // The first process of a namespace takes all others with it, at one moment.
    const first = found.toSorted((a, b) => Number(b.name.endsWith("/init")) - Number(a.name.endsWith("/init")));
    for (const { pid } of first) signalPid(pid, "SIGKILL");
    // What is frozen dies when it thaws.
    if (isSite) await freeze(record.id, target, false);
    await killProcesses(record.dir, selected);
    if (isSite) this.#targets.forget(target);
  }

  /** A site that loses its power says goodbye to nobody: the cable goes before the processes close their sockets. */
  async #unplug(site: string): Promise<void> {
    const { record, wire } = this.#targets.context;
    if (wire === undefined) return;
    const lines = Object.values(addressesOf(record, site)).map((address) => `link del ${portName(address)}\n`);
    await run(["nsenter", "-t", String(wire), "-n", "--", "ip", "-force", "-batch", "-"], {
      input: lines.join(""),
    }).catch((error: unknown) => {
      // A site that was cut short may lack a port; its processes die all the same.
      if (!hasCode(error, "ProgramFailed")) throw error;
    });
  }

  async #select(target: string, selected: (found: Found) => boolean): Promise<Found[]> {
    for (let looks = 0; looks < looksCount; looks++) {
      const found = (await findProcesses(this.#record.dir)).filter(selected);
      if (found.length > 0) return found;
      await sleep(lookEveryMs);
    }
    const all = await findProcesses(this.#record.dir);
    const names = new Set(all.map((entry) => entry.name).filter((name) => !name.endsWith("/init")));
    throw new LifeboatError("NotFound", `nothing runs as ${target}`, {
      hint: `what runs: ${[...names].toSorted().join(", ")}`,
    });
  }

  async restore(site: string): Promise<void> {
    const running = (await findProcesses(this.#record.dir)).filter(selector(site, true));
    if (running.length > 0) {
      throw new LifeboatError("ConfigInvalid", `${site} is up`, { hint: `kill it first, or resume what is paused` });
    }
    await this.#targets.startSite(site);
  }

  async pause(target: string): Promise<void> {
    await this.#signal(target, "SIGSTOP");
  }

  async resume(target: string): Promise<void> {
    await this.#signal(target, "SIGCONT");
  }

  async #signal(target: string, signal: "SIGSTOP" | "SIGCONT"): Promise<void> {
    const { record } = this.#targets.context;
    const isSite = record.sites.some((site) => site.name === target);
    const selected = selector(target, false);
    const found = await this.#select(target, selected);
    if (isSite && record.subnet !== null && (await freeze(record.id, target, signal === "SIGSTOP"))) return;
    // A wrapper halts by itself when what it waits for halts, and is not woken with it.
    for (const entry of found) if (signal === "SIGCONT" || !isWrapper(entry)) signalPid(entry.pid, signal);
  }

  async bandwidth(endpoint: string, mbitPerSecond: number | null): Promise<void> {
    this.#resolve(endpoint);
    await this.#change(({ mbitPerSecond: limits, ...state }) => {
      const others = Object.fromEntries(Object.entries(limits).filter(([name]) => name !== endpoint));
      return { ...state, mbitPerSecond: mbitPerSecond === null ? others : { ...others, [endpoint]: mbitPerSecond } };
    });
    await this.#limit(endpoint, mbitPerSecond);
  }

  async #limit(endpoint: string, mbit: number | null): Promise<void> {
    const addresses = this.#resolve(endpoint);
    const places = [...(await this.#targets.places()).values()].filter((place) => addresses.includes(place.address));
    const { wire } = this.#targets.context;
    if (wire === undefined) return;
    for (const place of places) {
      await run(place.enter(shape("eth0", mbit)));
      await run(["nsenter", "-t", String(wire), "-n", "--", ...shape(portName(place.address), mbit)]);
    }
  }

  async delay(
    a: string,
    b: string,
    delayMs: number,
    options: { readonly ports?: readonly number[] } = {},
  ): Promise<void> {
    const addresses = [a, b].flatMap((endpoint) => this.#resolve(endpoint));
    const sides = [...(await this.#targets.places()).values()].filter((place) => addresses.includes(place.address));
    const open = await Promise.all(sides.map(async (place) => openPorts(await holderOf(this.#record.dir, place.name))));
    const ports = [...new Set([isolatedPorts.apiserver, ...open.flat(), ...(options.ports ?? [])])];
    await this.#change((state) => ({
      ...state,
      delays: [
        ...state.delays.filter((entry) => !samePair(entry, { a, b })),
        ...(delayMs > 0 ? [{ a, b, delayMs, ports }] : []),
      ],
    }));
    await this.#applyLates(await this.inForce());
  }

  async #applyLates(state: FaultState, only: (place: Place) => boolean = () => true): Promise<void> {
    const places = [...(await this.#targets.places()).values()].filter(only);
    for (const place of places) {
      const lates = state.delays.flatMap(({ a, b, delayMs, ports }) =>
        this.#facing(place.address, a, b).flatMap((host) => ports.map((port): Late => ({ host, port, delayMs }))),
      );
      await applyDelays(this.#record.dir, place, lates);
    }
  }

  /** Addresses on the other side of a delay, seen from `address`; none when it is on neither. */
  #facing(address: string, a: string, b: string): readonly string[] {
    const pairs = directedCuts([{ a, b, direction: "both", mode: "drop" }], (endpoint) => this.#resolve(endpoint));
    return pairs.filter((pair) => pair.from === address).map((pair) => pair.to);
  }
}

function samePair(x: { a: string; b: string }, y: { a: string; b: string }): boolean {
  return (x.a === y.a && x.b === y.b) || (x.a === y.b && x.b === y.a);
}

/** Which processes a target stands for; the ones that hold its namespaces only when it is to die as a whole. */
function selector(target: string, withHolders: boolean): (found: Found) => boolean {
  const holds = (found: Found): boolean => found.name.endsWith("/init");
  return (found) => (found.name === target || found.name.startsWith(`${target}/`)) && (withHolders || !holds(found));
}

function shape(device: string, mbit: number | null): string[] {
  if (mbit === null) return ["sh", "-c", `tc qdisc del dev ${device} root 2>/dev/null || true`];
  // A burst of at least what one tick of the clock lets pass, and room for a fifth of a second in the queue.
  const burstBytes = Math.max(65_536, Math.ceil((mbit * 1_000_000) / 8 / 100));
  return [
    "tc",
    "qdisc",
    "replace",
    "dev",
    device,
    "root",
    "tbf",
    "rate",
    `${mbit}mbit`,
    "burst",
    `${burstBytes}`,
    "latency",
    "200ms",
  ];
}
