/** What the chapters of the demo share. */
import { join } from "node:path";
import type { LinkedAbort } from "../../src/abort.ts";
import { messageOf } from "../../src/errors.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import type { Bed } from "../bed/running.ts";
import type { LagFigures, LagReport } from "../pair/figures.ts";
import type { Pair } from "../pair/pair.ts";
import type { Installed } from "./install.ts";
import type { LedgerWriter, Losses, Target } from "./ledger.ts";
import type { Reported } from "./manifests.ts";
import { Timeline } from "./timeline.ts";
import type { TimelineEntry } from "./timeline.ts";
import { readWorkloads } from "./workloads.ts";
import type { Workload } from "./workloads.ts";

export const groupName = "demo";
/** How often something that a person watches is looked at. */
export const pollMs = 150;

export interface DemoOptions {
  readonly nodes: "simulated" | "real";
  /** File or folder of manifests. @default the built-in application */
  readonly app?: string | undefined;
  /** How long east is watched after its return. */
  readonly watchMs: number;
  readonly signal: AbortSignal;
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** `null`: it never came to measuring that. */
export interface DemoResult {
  readonly objects: number | null;
  readonly notReplicated: readonly Reported[];
  readonly journalLagMs: LagFigures;
  readonly applyLagMs: LagFigures;
  readonly acknowledged: number | null;
  readonly lostChanges: number | null;
  readonly rpoMs: number | null;
  /** From the kill. */
  readonly decisionMs: number | null;
  readonly rtoMs: number | null;
  readonly timeline: readonly TimelineEntry[];
  /** `null` also where pods run in name only. */
  readonly bothActiveMs: number | null;
  readonly checks: readonly Check[];
}

/** A writer at work. */
export interface Writing {
  readonly writer: LedgerWriter;
  readonly targets: readonly Target[];
  readonly stop: LinkedAbort;
  readonly done: Promise<void>;
}

/** Everything that later chapters need of earlier ones; a getter throws where a chapter was left out. */
export class Stage {
  readonly options: DemoOptions;
  readonly signal: AbortSignal;
  readonly timeline = new Timeline();
  readonly reports: Reported[] = [];
  readonly checks: Check[] = [];
  /** Why an object of the application stays at east, by key. */
  readonly staying = new Map<ObjectKey, string>();
  /** Workloads at east, as they last were before the kill. */
  before: ReadonlyMap<ObjectKey, Workload> = new Map();
  objectCount: number | undefined;
  /** When the group was made, on the monotonic clock. */
  protectedAtMs = 0;
  killedAtMs: number | undefined;
  loss: Losses | undefined;
  /** Of the first chapter that failed. */
  failure: unknown;
  /** Whether what west lacks is among the reports. */
  hasListed = false;
  /** What there is to install, and to protect. */
  manifests: readonly KubeObject[] | undefined;
  bothActiveMs: number | null = null;
  lag: LagReport = { journalMs: { p50: null, p99: null }, applyMs: { p50: null, p99: null } };
  startedBed: Bed | undefined;
  startedPair: Pair | undefined;
  installedApp: Installed | undefined;
  begunWriting: Writing | undefined;

  constructor(options: DemoOptions) {
    this.options = options;
    this.signal = options.signal;
  }

  get bed(): Bed {
    return needed(this.startedBed);
  }

  get pair(): Pair {
    return needed(this.startedPair);
  }

  get installed(): Installed {
    return needed(this.installedApp);
  }

  get writing(): Writing {
    return needed(this.begunWriting);
  }

  /** Real nodes have a guard each, which stops pods whatever else is dead. */
  get guarded(): boolean {
    return this.options.nodes === "real";
  }

  get beatsDir(): string {
    return join(this.bed.dir, "beats");
  }

  get namespaces(): readonly string[] {
    return this.installed.namespaces;
  }

  async workloads(site: string): Promise<Map<ObjectKey, Workload>> {
    const namespaces = new Set(this.namespaces);
    return readWorkloads(this.pair.client(site), { namespaces, signal: this.signal });
  }

  check(name: string, ok: boolean, detail: string): void {
    this.checks.push({ name, ok, detail });
  }

  /** A chapter could not be told to its end: nothing after it holds. */
  failed(title: string, error: unknown): void {
    this.failure ??= error;
    this.begunWriting?.stop.abort(error);
    this.check(title, false, messageOf(error));
  }

  get passed(): boolean {
    return this.checks.length > 0 && this.checks.every(({ ok }) => ok);
  }

  get result(): DemoResult {
    const { killedAtMs } = this;
    const after = (event: string): number | null => {
      const ms = this.timeline.at(event);
      return ms === undefined || killedAtMs === undefined ? null : Math.round(ms - killedAtMs);
    };
    return {
      objects: this.objectCount ?? null,
      notReplicated: this.reports,
      journalLagMs: this.lag.journalMs,
      applyLagMs: this.lag.applyMs,
      acknowledged: this.begunWriting?.writer.entries.length ?? null,
      lostChanges: this.loss?.lost ?? null,
      rpoMs: this.loss?.rpoMs ?? null,
      decisionMs: after("granted"),
      rtoMs: after("all ready"),
      timeline: killedAtMs === undefined ? [] : this.timeline.since(killedAtMs),
      bothActiveMs: this.bothActiveMs,
      checks: this.checks,
    };
  }
}

function needed<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a chapter before this one was left out");
  return value;
}
