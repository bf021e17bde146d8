/** Two sites with real nodes, a witness, guards, and an application whose pods say when they run. */
import { cp, mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GroupSpecInput } from "../../src/config/group.ts";
import { moveAnnotations } from "../../src/config/requests.ts";
import { profileTiming, type Timing } from "../../src/failover/timing.ts";
import { resources } from "../../src/kube/resource.ts";
import { pathOf, placeOf } from "../../src/kube/resource.ts";
import { startBed } from "../bed/bed.ts";
import { killRestartable } from "../bed/restartable.ts";
import { findProcesses, isWrapper } from "../bed/processes.ts";
import type { Bed } from "../bed/running.ts";
import { readBeats, uptimeMs, type Interval } from "../demo/beats.ts";
import { hasCondition, startPair, type Pair } from "../pair/pair.ts";
import { type Answer, runLifeboat } from "../pair/run-lifeboat.ts";
import { waitFor } from "../pair/wait.ts";
import { application, namespace } from "./app.ts";
import type { Writer } from "./writer.ts";

export const group = "chaos";
export const sites = ["east", "west"] as const;
export type SiteName = (typeof sites)[number];

/** From a healed bed to an armed group: a kubelet, an agent and a resync on two busy cores. */
const readyLimitMs = 180_000;
/** An agent that is alive takes an order within a second. */
const orderLimitMs = 20_000;
/** Files of pods that are gone are read no more. */
const staleMs = 30_000;
/** A pod that runs writes 50 times a second. */
const freshMs = 500;

export interface StageOptions {
  readonly profile: "test" | "fast";
  /** Without: the control, in which nothing stops pods but the API server. */
  readonly guards: boolean;
  readonly signal: AbortSignal;
  readonly report: (line: string) => void;
}

export class Stage {
  readonly bed: Bed;
  readonly pair: Pair;
  readonly options: StageOptions;
  readonly timing: Timing;
  /** Whoever writes to the application in the present round. */
  writer: Writer | undefined;

  private constructor(bed: Bed, pair: Pair, options: StageOptions) {
    this.bed = bed;
    this.pair = pair;
    this.options = options;
    this.timing = profileTiming(options.profile);
  }

  static async start(options: StageOptions): Promise<Stage> {
    const { signal, report, guards } = options;
    const bed = await startBed({ sites: [...sites], nodes: "real", install: true, report }, { signal });
    try {
      const pair = await startPair(bed, { signal, guards });
      const stage = new Stage(bed, pair, options);
      await stage.#install();
      return stage;
    } catch (error) {
      await bed.stop();
      throw error;
    }
  }

  get #beatsDir(): string {
    return join(this.bed.dir, "beats");
  }

  async #install(): Promise<void> {
    const { signal } = this.options;
    await mkdir(this.#beatsDir, { recursive: true });
    for (const object of application(this.#beatsDir)) {
      const resource = { Namespace: resources.namespaces, ConfigMap: resources.configMaps }[object.kind];
      const path = pathOf(resource ?? resources.deployments, { ...placeOf(object) });
      await this.pair.client("east").request("PATCH", path, {
        query: { fieldManager: "user", force: true },
        body: JSON.stringify(object),
        contentType: "application/apply-patch+yaml",
        signal,
      });
    }
    await this.pair.applyGroup("east", group, this.#spec(), signal);
  }

  #spec(): GroupSpecInput {
    const { profile, guards } = this.options;
    const policy = guards ? "Guard" : "Unproven";
    return {
      sites: sites.map((name) => ({ name })),
      select: { namespaces: { names: [namespace] } },
      failover: { automatic: true, profile, fencing: { policy }, cooldown: "1s" },
    };
  }

  /** Mends everything, and brings the group to `east` with `west` ready to take over. */
  async ready(): Promise<void> {
    const { signal } = this.options;
    await this.mend();
    const endMs = performance.now() + readyLimitMs;
    const left = (): number => Math.max(1, endMs - performance.now());
    const active = await waitFor("one active site", async () => this.activeSite(), { limitMs: left(), signal });
    if (active === "west") await this.#bringBack(left);
    await this.armed(left);
    await waitFor("beats of east", async () => ((await this.beatAgeMs("east")) < freshMs ? true : undefined), {
      limitMs: left(),
      signal,
    });
    await this.#sweep();
  }

  async #bringBack(left: () => number): Promise<void> {
    const { signal } = this.options;
    const back = async (): Promise<true | undefined> => {
      const { epoch, active } = await this.pair.status("west", group, signal);
      if (active === "east" && (await this.activeSite()) === "east") return true;
      if (active === "west") await this.order("west", "switchover", `east@${epoch ?? ""}`);
      return undefined;
    };
    await waitFor("the group back at east", back, { limitMs: left(), everyMs: 2_000, signal });
  }

  /** West would take over by itself. */
  async armed(left = (): number => readyLimitMs): Promise<void> {
    const { signal, guards } = this.options;
    for (const site of sites) {
      await this.pair.waitForStatus(
        site,
        group,
        "armed",
        (status) =>
          hasCondition(status, "Armed") &&
          (site === "west" || status.leases?.fence === (guards ? "guard" : "api")) &&
          (site === "east" || status.counts?.pending === 0),
        { limitMs: left(), signal },
      );
    }
  }

  /** The site that says of itself that it runs the group, when exactly one does. */
  async activeSite(): Promise<SiteName | undefined> {
    const roles = await Promise.all(sites.map(async (site) => this.statusOf(site)));
    const active = sites.filter((_site, at) => roles[at]?.role === "active");
    return active.length === 1 ? active[0] : undefined;
  }

  async statusOf(site: SiteName): Promise<Awaited<ReturnType<Pair["status"]>> | undefined> {
    const limit = AbortSignal.any([this.options.signal, AbortSignal.timeout(2_000)]);
    return this.pair.status(site, group, limit).catch(() => undefined);
  }

  /** As a person does. */
  async order(site: SiteName, verb: keyof typeof moveAnnotations, value: string): Promise<void> {
    const patch = { type: "merge", body: { metadata: { annotations: { [moveAnnotations[verb]]: value } } } } as const;
    const options = { fieldManager: "user", signal: this.options.signal };
    await this.pair.client(site).patch(resources.protectionGroups, { name: group }, patch, options);
  }

  /** What only a person can end, as the site tells it; "" while there is no such thing. */
  async blockedAt(site: SiteName): Promise<string> {
    const condition = (await this.statusOf(site))?.conditions?.find(({ type }) => type === "Blocked");
    return condition?.status === "True" ? (condition.message ?? "") : "";
  }

  /** The command line, asked of a site. */
  async lifeboat(site: SiteName, ...args: readonly string[]): Promise<Answer> {
    return runLifeboat([...args, "--kubeconfig", this.bed.site(site).kubeconfigPath]);
  }

  /** Orders a switchover to west; refused for what passes in a moment, it is ordered again. */
  async switchOver(): Promise<void> {
    const { signal } = this.options;
    const ordered = async (): Promise<true | undefined> => {
      const request = `west@${await this.epoch("east")}`;
      await this.order("east", "switchover", request);
      const taken = await waitFor(
        "an answer",
        async () => {
          const { lastRequest, state } = await this.pair.status("east", group, signal);
          if (lastRequest?.id !== request) return undefined;
          // Taken first, and then looked at: it is under way once the group is being stopped.
          return lastRequest.outcome === "Running" && state === "Active" ? undefined : lastRequest;
        },
        { limitMs: orderLimitMs, everyMs: 20, signal },
      );
      if (taken.outcome !== "Refused") return true;
      this.options.report(`    refused, and ordered again: ${taken.message ?? ""}`);
      return undefined;
    };
    await waitFor("a switchover that is not refused", ordered, { limitMs: readyLimitMs, everyMs: 1_000, signal });
  }

  async epoch(site: SiteName): Promise<string> {
    return (await this.pair.status(site, group, this.options.signal)).epoch ?? "";
  }

  /** Heals, wakes, restores and starts whatever is not there. */
  async mend(): Promise<void> {
    const { faults } = this.bed;
    await faults.heal();
    for (const site of sites) {
      for (const name of ["agent", "guard", "kube-apiserver"])
        await faults.resume(`${site}/${name}`).catch(() => undefined);
      await faults.resume(site).catch(() => undefined);
      if (!(await this.runs(`${site}/etcd`))) await faults.restore(site);
      if (!(await this.runs(`${site}/kube-apiserver`))) this.#again.get(site)?.();
      this.#again.delete(site);
      if (this.options.guards && !(await this.runs(`${site}/guard`))) this.pair.startGuard(site);
      if (!(await this.runs(`${site}/agent`))) this.pair.spawn(site);
    }
    await faults.resume("witness").catch(() => undefined);
    if (!(await this.runs("witness/witness"))) this.pair.spawn("witness");
  }

  /** What starts the API servers that were killed alone. */
  readonly #again = new Map<SiteName, () => void>();

  /** SIGKILL of one program of a site. */
  async kill(site: SiteName, program: "kube-apiserver" | "agent" | "guard"): Promise<void> {
    const name = `${site}/${program}`;
    if (!(await this.runs(name))) return;
    if (program === "kube-apiserver") this.#again.set(site, await killRestartable(this.bed, site, program));
    else await this.bed.faults.kill(name);
  }

  async runs(name: string): Promise<boolean> {
    return (await findProcesses(this.bed.dir)).some((each) => each.name === name && !isWrapper(each));
  }

  /** When pods of each site ran since `fromMs`, in milliseconds of the machine's uptime. */
  async beats(fromMs: number): Promise<Readonly<Record<SiteName, readonly Interval[]>>> {
    const all = await readBeats(this.#beatsDir, sites);
    const since = (site: SiteName): Interval[] =>
      (all.get(site) ?? [])
        .filter(({ toMs }) => toMs >= fromMs)
        .map(({ fromMs: begin, toMs }) => ({ fromMs: Math.max(begin, fromMs), toMs }));
    return { east: since("east"), west: since("west") };
  }

  /** Since the last sign of a pod of the site. */
  async beatAgeMs(site: SiteName): Promise<number> {
    const nowMs = await uptimeMs();
    return nowMs - Math.max(0, ...(await this.beats(nowMs - 60_000))[site].map(({ toMs }) => toMs));
  }

  /** Copies the logs of all processes to a folder that outlives the bed, and names those of the pair that run. */
  async keepLogs(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), "lifeboat-chaos-"));
    await cp(join(this.bed.dir, "logs"), path, { recursive: true });
    const members = ["witness/witness", ...sites.flatMap((site) => [`${site}/agent`, `${site}/guard`])];
    const running = await Promise.all(members.map(async (name) => ((await this.runs(name)) ? [name] : [])));
    return `logs kept in ${path}; running: ${running.flat().join(", ")}`;
  }

  async #sweep(): Promise<void> {
    for (const file of await readdir(this.#beatsDir)) {
      const path = join(this.#beatsDir, file);
      if (Date.now() - (await stat(path)).mtimeMs > staleMs) await rm(path);
    }
  }

  async stop(): Promise<void> {
    await this.pair.close();
    await this.bed.stop();
  }
}
