/** The demo's story, chapter by chapter. Every wait has a limit, so that no application makes it hang. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pc from "picocolors";
import { linkedAbort } from "../../src/abort.ts";
import type { GroupSpecInput } from "../../src/config/group.ts";
import { messageOf } from "../../src/errors.ts";
import { pathOf } from "../../src/kube/resource.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import { startBed } from "../bed/bed.ts";
import type { Bed } from "../bed/running.ts";
import { lagNow, lagScrape, lagSince } from "../pair/figures.ts";
import type { LagFigures, LagScrape } from "../pair/figures.ts";
import { hasCondition, startPair } from "../pair/pair.ts";
import type { Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { overlapMs, readBeats } from "./beats.ts";
import { changeAnnotation, LedgerWriter } from "./ledger.ts";
import type { Target } from "./ledger.ts";
import { builtInApp, install, readManifests } from "./manifests.ts";
import type { Installed, Reported } from "./manifests.ts";
import type { Chapter, Step } from "./screen.ts";
import { agentTimeline } from "./decision.ts";
import { Timeline } from "./timeline.ts";
import type { TimelineEntry } from "./timeline.ts";
import { compareSite, openJournalCopy } from "./verdict.ts";
import { isUp, readWorkloads, whyDown } from "./workloads.ts";
import type { Workload } from "./workloads.ts";

export const groupName = "demo";
const writesPerS = 20;
const writingMs = 12_000;
/** Images are local and nodes idle; what is not up by then will not come. */
const upLimitMs = 60_000;
const syncLimitMs = 180_000;
/** The `fast` profile starts within 31 s where stops are proven, 105 s where they are not; the rest is for starts. */
const takeoverLimitMs = 240_000;
const returnLimitMs = 180_000;
/** A pod of the returned site that is not stopped by then is found in its beats. */
const watchAfterReturnMs = 60_000;
const followLimitMs = 60_000;
const pollMs = 150;

export interface DemoOptions {
  readonly nodes: "simulated" | "real";
  /** File or folder of manifests. @default the built-in application */
  readonly app?: string | undefined;
  readonly signal: AbortSignal;
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

export interface DemoResult {
  readonly objects: number;
  readonly notReplicated: readonly Reported[];
  readonly journalLagMs: LagFigures;
  readonly applyLagMs: LagFigures;
  readonly acknowledged: number;
  readonly lostChanges: number;
  readonly rpoMs: number;
  readonly decisionMs: number | null;
  readonly rtoMs: number | null;
  readonly timeline: readonly TimelineEntry[];
  readonly bothActiveMs: number | null;
  readonly checks: readonly Check[];
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

export class Demo {
  readonly #options: DemoOptions;
  readonly #signal: AbortSignal;
  readonly #timeline = new Timeline();
  readonly #reports: Reported[] = [];
  readonly #checks: Check[] = [];
  bed: Bed | undefined;
  pair: Pair | undefined;
  #beatsDir = "";
  #installed: Installed | undefined;
  #namespaces: ReadonlySet<string> = new Set();
  #before: ReadonlyMap<ObjectKey, Workload> = new Map();
  #writer: LedgerWriter | undefined;
  #targets: readonly Target[] = [];
  #lag: LagScrape | undefined;
  #objectCount = 0;
  #killedAtMs = 0;
  #loss = { lost: 0, rpoMs: 0 };
  #bothActiveMs: number | null = null;

  constructor(options: DemoOptions) {
    this.#options = options;
    this.#signal = options.signal;
  }

  get chapters(): readonly Chapter[] {
    return [
      { title: "Two clusters", run: async (step) => this.#startBed(step) },
      { title: "A witness and two agents", run: async () => this.#startPair() },
      { title: "An application at east", run: async (step) => this.#installApp(step) },
      { title: "Protecting it", run: async (step) => this.#protect(step) },
      { title: `Changing it ${writesPerS} times a second`, run: async (step) => this.#change(step) },
      { title: "SIGKILL of all of east", run: async (step) => this.#takeover(step) },
      { title: "What was lost", run: async (step) => this.#countLoss(step) },
      { title: "East returns", run: async (step) => this.#returnEast(step) },
      { title: "Verdict", run: async (step) => this.#judge(step) },
    ];
  }

  get result(): DemoResult {
    const at = (event: string): number | null => {
      const ms = this.#timeline.at(event);
      return ms === undefined ? null : Math.round(ms - this.#killedAtMs);
    };
    const none = { p50: null, p99: null };
    return {
      objects: this.#objectCount,
      notReplicated: this.#reports,
      journalLagMs: this.#lag?.journalMs ?? none,
      applyLagMs: this.#lag?.applyMs ?? none,
      acknowledged: this.#writer?.entries.length ?? 0,
      lostChanges: this.#loss.lost,
      rpoMs: this.#loss.rpoMs,
      decisionMs: at("granted"),
      rtoMs: at("all ready"),
      timeline: this.#timeline.since(this.#killedAtMs),
      bothActiveMs: this.#bothActiveMs,
      checks: this.#checks,
    };
  }

  async #startBed(step: Step): Promise<string> {
    const { nodes } = this.#options;
    const bed = await startBed(
      { sites: ["east", "west"], nodes, install: true, report: (line) => step.live(line) },
      { signal: this.#signal },
    );
    this.bed = bed;
    this.#beatsDir = join(bed.dir, "beats");
    await mkdir(this.#beatsDir, { recursive: true });
    return `Two clusters, east and west, with ${nodes} nodes, up in ${seconds(bed.startMs)}`;
  }

  #needBed(): Bed {
    if (this.bed === undefined) throw new Error("no bed");
    return this.bed;
  }

  #needPair(): Pair {
    if (this.pair === undefined) throw new Error("no pair");
    return this.pair;
  }

  async #startPair(): Promise<string> {
    const startedAtMs = performance.now();
    this.pair = await startPair(this.#needBed(), { signal: this.#signal });
    return `A witness and two agents, up in ${seconds(performance.now() - startedAtMs)}`;
  }

  async #installApp(step: Step): Promise<string> {
    const path = this.#options.app ?? builtInApp;
    const manifests = await readManifests(path, { BEATS: this.#beatsDir });
    const east = this.#needPair().client("east");
    const installed = await install(east, manifests, {
      signal: this.#signal,
      progress: (done) => step.live(`${done} of ${count(manifests.length, "object")}`),
    });
    this.#installed = installed;
    this.#namespaces = new Set(installed.namespaces);
    for (const { object, reason } of installed.refused)
      this.#reports.push({ object, reason: `not at east: ${reason}` });
    this.#before = await this.#waitUp("east", step, upLimitMs, () => true);
    const up = [...this.#before.values()].filter(isUp);
    if (installed.refused.length > 0) step.fact(pc.yellow(`${installed.refused.length} objects were refused by east`));
    return `An application at east: ${count(installed.objects.length, "object")} in ${[...this.#namespaces].join(", ")}; ${up.length} of ${count(this.#before.size, "workload")} ready`;
  }

  /** Waits until the workloads that `needed` names are up; what is not up after the limit is returned as it is. */
  async #waitUp(
    site: string,
    step: Step,
    limitMs: number,
    needed: (key: ObjectKey) => boolean,
  ): Promise<Map<ObjectKey, Workload>> {
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    const endMs = performance.now() + limitMs;
    for (;;) {
      const all = await readWorkloads(this.#needPair().client(site), options);
      const wanted = [...all.values()].filter(({ key, wanted: pods }) => needed(key) && pods > 0);
      const up = wanted.filter(isUp).length;
      step.live(`${up} of ${count(wanted.length, "workload")} ready`);
      // A moment for what the controllers have not yet seen.
      if ((up === wanted.length && (wanted.length > 0 || all.size === 0)) || performance.now() > endMs) return all;
      await delay(pollMs, undefined, { signal: this.#signal });
    }
  }

  #groupSpec(): GroupSpecInput {
    const ownMutations: GroupSpecInput["mutations"] =
      this.#options.app === undefined
        ? [
            {
              match: { kinds: ["ConfigMap"], names: ["site"] },
              site: "west",
              when: "always",
              jsonPatch: [{ op: "replace", path: "/data/region", value: "west" }],
            },
          ]
        : [];
    return {
      sites: [{ name: "east" }, { name: "west" }],
      select: { namespaces: { names: [...this.#namespaces] } },
      mutations: [
        { match: { kinds: ["apps/Deployment"] }, site: "west", when: "standby", labels: { set: { tier: "cold" } } },
        ...ownMutations,
      ],
      objectives: { rpo: "5s", rto: "2m" },
      failover: { automatic: true, profile: "fast", fencing: { policy: "Unproven" } },
    };
  }

  async #protect(step: Step): Promise<string> {
    const pair = this.#needPair();
    const startedAtMs = performance.now();
    await pair.applyGroup("east", groupName, this.#groupSpec(), this.#signal);
    const watching = linkedAbort(this.#signal);
    const live = this.#showCounts(step, watching.signal);
    try {
      await pair.waitSynced("east", groupName, { limitMs: syncLimitMs, signal: this.#signal });
    } finally {
      watching.abort(new Error("synced"));
      await live;
      watching[Symbol.dispose]();
    }
    const status = await pair.status("east", groupName, this.#signal);
    this.#objectCount = status.counts?.objects ?? 0;
    await this.#showStandby(step);
    return `Protected: ${count(this.#objectCount, "object")} arrived at west in ${seconds(performance.now() - startedAtMs)}`;
  }

  async #showCounts(step: Step, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const status = await this.#needPair()
        .status("west", groupName, this.#signal)
        .catch(() => undefined);
      const { applied = 0, objects = 0 } = status?.counts ?? {};
      step.live(`${applied} of ${count(objects, "object")} at west`);
      await delay(500, undefined, { signal }).catch(() => undefined);
    }
  }

  async #showStandby(step: Step): Promise<void> {
    const pair = this.#needPair();
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    const west = await readWorkloads(pair.client("west"), options);
    const shown = [...this.#before.values()].filter(({ object }) => object.kind === "Deployment").slice(0, 3);
    for (const { key, wanted, object } of shown) {
      const copy = west.get(key);
      if (copy === undefined) continue;
      const tier = (labels?: Record<string, string>): string => labels?.["tier"] ?? "none";
      step.fact(
        `${key}: replicas ${wanted} → ${copy.wanted}, label tier ${tier(object.metadata.labels)} → ${tier(copy.object.metadata.labels)}`,
      );
    }
  }

  async #change(step: Step): Promise<string> {
    const pair = this.#needPair();
    const installed = this.#installed;
    if (installed === undefined) throw new Error("nothing is installed");
    const writer = new LedgerWriter(pair.client("east"), join(this.#needBed().dir, "ledger.jsonl"));
    this.#writer = writer;
    this.#targets = await writer.choose(installed.objects, installed.resources, { signal: this.#signal });
    const before = await lagScrape(pair);
    this.#stopWriting = linkedAbort(this.#signal);
    this.#writing = writer.run(writesPerS, { signal: this.#stopWriting.signal });
    const endMs = performance.now() + writingMs;
    while (performance.now() < endMs) {
      await delay(500, undefined, { signal: this.#signal });
      const lag = await lagNow(pair, groupName, this.#signal);
      step.live(`${writer.entries.length} acknowledged · journal lag ${lag.journal} · apply lag ${lag.apply}`);
    }
    const scrape = await lagScrape(pair);
    this.#lag = lagSince(scrape, before);
    const text = ({ p50, p99 }: LagFigures): string => `p50 ${p50 ?? "?"} ms, p99 ${p99 ?? "?"} ms`;
    step.fact(`journal lag ${text(this.#lag.journalMs)} · apply lag ${text(this.#lag.applyMs)}`);
    return `Changing ${count(this.#targets.length, "object")} ${writesPerS} times a second, each acknowledged write in a ledger`;
  }

  #stopWriting: ReturnType<typeof linkedAbort> | undefined;
  #writing: Promise<void> | undefined;

  async #takeover(step: Step): Promise<string> {
    const bed = this.#needBed();
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    this.#before = await readWorkloads(this.#needPair().client("east"), options);
    this.#killedAtMs = Date.now();
    await bed.faults.kill("east");
    this.#timeline.note("killed", this.#killedAtMs);
    this.#stopWriting?.abort(new Error("killed"));
    await this.#writing;
    step.fact(`killed after ${this.#writer?.entries.length ?? 0} acknowledged writes`);
    await this.#watchTakeover(step);
    for (const { event, atMs } of this.#timeline.since(this.#killedAtMs)) {
      step.fact(`${`${atMs < 0 ? "-" : "+"}${seconds(Math.abs(atMs))}`.padStart(9)}  ${event}`);
    }
    const took = this.#timeline.at("all ready");
    if (took === undefined) return `West took over, but not everything is ready after ${seconds(takeoverLimitMs)}`;
    return `West runs the application ${seconds(took - this.#killedAtMs)} after the kill`;
  }

  async #watchTakeover(step: Step): Promise<void> {
    const pair = this.#needPair();
    const west = pair.client("west");
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    const needed = [...this.#before.values()].filter(isUp).map(({ key }) => key);
    const endMs = this.#killedAtMs + takeoverLimitMs;
    while (Date.now() < endMs) {
      const [status, workloads] = await Promise.all([
        pair.status("west", groupName, this.#signal),
        readWorkloads(west, options),
      ]);
      const ready = needed.filter((key) => isUpAt(workloads, key)).length;
      step.live(
        `+${seconds(Date.now() - this.#killedAtMs)} · ${status.reason ?? status.state ?? ""} · ${ready} of ${count(needed.length, "workload")} ready`,
      );
      if (status.active === "west") this.#timeline.note("west knows that it is active");
      if ([...workloads.values()].some(({ wanted, object }) => wanted > 0 && object.kind !== "Pod")) {
        this.#timeline.note("first workload scaled");
      }
      if (ready === needed.length && status.role === "active") {
        this.#timeline.note("all ready");
        break;
      }
      await delay(pollMs, undefined, { signal: this.#signal });
    }
    for (const { event, wallMs } of await agentTimeline(pair, "west", groupName, this.#signal)) {
      this.#timeline.note(event, wallMs);
    }
  }

  async #countLoss(step: Step): Promise<string> {
    const writer = this.#writer;
    if (writer === undefined) throw new Error("nothing was written");
    const west = this.#needPair().client("west");
    this.#loss = await writer.losses(west, this.#killedAtMs, { signal: this.#signal });
    const journal = await this.#journalOfWest("at-grant");
    try {
      const found = await compareSite(journal, { client: west, site: "west", role: "active", signal: this.#signal });
      this.#check(
        "west equals what the journal held at the grant, rendered as active",
        found.different.length === 0,
        found.different.length === 0 ? `${found.compared} objects compared` : listed(found.different),
      );
      for (const entry of found.different) step.fact(pc.red(`${entry.object} ${entry.reason}`));
      await this.#reportMissing(found.withheld);
    } finally {
      journal.close();
    }
    await this.#checkReady();
    return `Lost ${this.#loss.lost} of ${writer.entries.length} acknowledged changes; RPO ${this.#loss.rpoMs} ms`;
  }

  async #journalOfWest(name: string): ReturnType<typeof openJournalCopy> {
    const bed = this.#needBed();
    return openJournalCopy(this.#needPair().dataDir("west"), groupName, join(bed.dir, name));
  }

  #check(name: string, ok: boolean, detail: string): void {
    this.#checks.push({ name, ok, detail });
  }

  /** Objects of the application that west does not have, with the best reason that can be found. */
  async #reportMissing(withheld: readonly Reported[]): Promise<void> {
    const pair = this.#needPair();
    const west = pair.client("west");
    const status = await pair.status("west", groupName, this.#signal);
    const reasons = new Map([
      ...(status.findings ?? []).flatMap(({ object, message }) =>
        object === undefined ? [] : [[object, message] as const],
      ),
      ...withheld.map(({ object, reason }) => [object, reason] as const),
    ]);
    for (const [key, resource] of this.#installed?.resources ?? []) {
      const [, , namespace = "", name = ""] = key.split("/");
      const found = await west.find(
        resource,
        { namespace: namespace === "" ? undefined : namespace, name },
        { signal: this.#signal },
      );
      if (found !== undefined) continue;
      const usual = namespace === "" ? "no object of the group needs it" : "not replicated";
      this.#reports.push({ object: key, reason: reasons.get(key) ?? usual });
    }
  }

  async #checkReady(): Promise<void> {
    const west = this.#needPair().client("west");
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    const now = await readWorkloads(west, options);
    const was = [...this.#before.values()].filter(({ wanted }) => wanted > 0);
    const down = was.filter(({ key }) => !isUpAt(now, key));
    for (const before of down) {
      const here = now.get(before.key);
      const why = here === undefined ? "is not at west" : await whyDown(west, here, options);
      const context = isUp(before) ? "ready at east, not ready at west" : "not ready at east either";
      this.#reports.push({ object: before.key, reason: `${context}: ${why}` });
    }
    const broken = down.filter(isUp);
    const total = was.filter(isUp).length;
    this.#check(
      "everything that was ready at east is ready at west",
      broken.length === 0,
      broken.length === 0 ? count(total, "workload") : broken.map(({ key }) => key).join(", "),
    );
  }

  async #returnEast(step: Step): Promise<string> {
    const bed = this.#needBed();
    const pair = this.#needPair();
    const startedAtMs = Date.now();
    const restoring = bed.faults.restore("east");
    // The agent starts as soon as there is an API server, as it would on a machine of its own.
    const agent = waitFor(
      "the API server of east",
      async () => ((await bed.site("east").api.request("GET", "/readyz")).status === 200 ? true : undefined),
      { limitMs: returnLimitMs, everyMs: 100, signal: this.#signal },
    ).then(() => pair.startAgent("east"));
    await Promise.all([restoring, agent]);
    const returnedAtMs = Date.now();
    this.#timeline.note("east is back", returnedAtMs);
    await this.#follow(step, returnedAtMs);
    const endMs = returnedAtMs + watchAfterReturnMs;
    while (Date.now() < endMs) {
      step.live(`watching for pods of east for another ${seconds(endMs - Date.now())}`);
      await delay(Math.min(1_000, Math.max(1, endMs - Date.now())), undefined, { signal: this.#signal });
    }
    if (this.#options.nodes === "real" && this.#options.app === undefined) await this.#countOverlap(step);
    return `East is back after ${seconds(returnedAtMs - startedAtMs)}, as the standby`;
  }

  async #countOverlap(step: Step): Promise<void> {
    const beats = await readBeats(this.#beatsDir, ["east", "west"]);
    const [east = [], west = []] = [beats.get("east"), beats.get("west")];
    if (east.length === 0 || west.length === 0) {
      this.#check(
        "the pods of both sites wrote heartbeats",
        false,
        `east ${east.length}, west ${west.length} stretches`,
      );
      return;
    }
    this.#bothActiveMs = Math.round(overlapMs(east, west));
    step.fact(`both sites ran pods at the same time for ${seconds(this.#bothActiveMs)}, by the pods' own heartbeats`);
  }

  /** East must stop what it still runs, take west's state, and see a change that is made at west now. */
  async #follow(step: Step, returnedAtMs: number): Promise<void> {
    const pair = this.#needPair();
    const options = { namespaces: this.#namespaces, signal: this.#signal };
    const limit = { limitMs: returnLimitMs, signal: this.#signal };
    try {
      await pair.waitForStatus("east", groupName, "standby", ({ role }) => role === "standby", limit);
      this.#timeline.note("east is standby");
      const stopped = async (): Promise<true | undefined> => {
        const all = await readWorkloads(pair.client("east"), options);
        const left = [...all.values()].filter(({ wanted, running }) => wanted > 0 || running > 0);
        step.live(`${count(left.length, "workload")} of east still there`);
        return left.length === 0 ? true : undefined;
      };
      await waitFor("no pods at east", stopped, limit);
      this.#timeline.note("east runs nothing");
      step.fact(`east ran nothing ${seconds(Date.now() - returnedAtMs)} after its return`);
      await pair.waitForStatus("west", groupName, "Synced", (status) => hasCondition(status, "Synced"), limit);
      this.#timeline.note("east has everything");
      const tookMs = await this.#writeThere();
      step.fact(`a change at west was at east ${Math.round(tookMs)} ms after its acknowledgement`);
      this.#check("east follows west", true, `a change arrived after ${Math.round(tookMs)} ms`);
    } catch (error) {
      this.#signal.throwIfAborted();
      step.fact(pc.red(messageOf(error)));
      this.#check("east follows west", false, messageOf(error));
    }
  }

  async #writeThere(): Promise<number> {
    const pair = this.#needPair();
    const [target] = this.#targets;
    if (target === undefined) return 0;
    const value = "after the return of east";
    await pair.client("west").request("PATCH", pathOf(target.resource, target), {
      body: JSON.stringify({ metadata: { annotations: { [changeAnnotation]: value } } }),
      contentType: "application/merge-patch+json",
      signal: this.#signal,
    });
    const ackedAtMs = performance.now();
    await waitFor(
      `the change of ${target.key} at east`,
      async () => {
        const found = await pair.client("east").get(target.resource, target, { signal: this.#signal });
        return found.metadata.annotations?.[changeAnnotation] === value ? true : undefined;
      },
      { limitMs: followLimitMs, everyMs: 5, signal: this.#signal },
    );
    return performance.now() - ackedAtMs;
  }

  async #judge(step: Step): Promise<string> {
    await this.#compareEast();
    for (const { name, ok, detail } of this.#checks) {
      step.fact(`${ok ? pc.green("✔") : pc.red("✘")} ${name}${detail === "" ? "" : pc.dim(` (${detail})`)}`);
    }
    for (const { object, reason } of this.#reports) step.fact(`${pc.yellow("·")} ${object}: ${reason}`);
    const { decisionMs, rtoMs } = this.result;
    const of = (ms: number | null): string => (ms === null ? "never" : seconds(ms));
    const figures = `RPO ${this.#loss.rpoMs} ms, decision ${of(decisionMs)}, RTO ${of(rtoMs)}`;
    return this.passed ? `Verdict: ${figures}` : `Verdict: ${pc.red("not everything held")}; ${figures}`;
  }

  /** East equals render(west, standby) in the end: by the journal that east itself has of west. */
  async #compareEast(): Promise<void> {
    const pair = this.#needPair();
    try {
      const journal = await openJournalCopy(pair.dataDir("east"), groupName, join(this.#needBed().dir, "at-end"));
      try {
        const found = await compareSite(journal, {
          client: pair.client("east"),
          site: "east",
          role: "standby",
          signal: this.#signal,
        });
        const ok = found.different.length === 0;
        this.#check(
          "east equals what west has, rendered as standby",
          ok,
          ok ? `${found.compared} objects compared` : listed(found.different),
        );
      } finally {
        journal.close();
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#check("east equals what west has, rendered as standby", false, messageOf(error));
    }
  }

  get passed(): boolean {
    return (
      this.#checks.length > 0 && this.#checks.every(({ ok }) => ok) && this.#timeline.at("all ready") !== undefined
    );
  }
}

function isUpAt(workloads: ReadonlyMap<ObjectKey, Workload>, key: ObjectKey): boolean {
  const found = workloads.get(key);
  return found !== undefined && isUp(found);
}

function listed(entries: readonly Reported[]): string {
  const first = entries.slice(0, 3).map(({ object, reason }) => `${object} ${reason}`);
  return `${count(entries.length, "object")}: ${first.join("; ")}${entries.length > 3 ? " …" : ""}`;
}
