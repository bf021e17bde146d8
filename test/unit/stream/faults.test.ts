import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Pulse } from "../../../src/abort.ts";
import { ModelSink, ModelSource } from "./model.ts";
import { StreamBench } from "./streams.ts";

/**
 * Random changes and random faults over real grpc and TLS. After each commit what the sink claims must be true; when
 * the faults are over it must equal the source.
 */

const keyCount = 60;

type Operation =
  | { readonly kind: "put"; readonly key: number; readonly bytes: number }
  | { readonly kind: "remove"; readonly key: number }
  | { readonly kind: "removeMany"; readonly from: number }
  | { readonly kind: "cut" | "restartSource" | "restartSink" | "check" | "corrupt" | "slow" }
  | { readonly kind: "pause"; readonly ms: number };

const key = fc.nat({ max: keyCount - 1 });
const change = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("put" as const), key, bytes: fc.constantFrom(10, 3000, 90_000) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("removeMany" as const), from: key }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("pause" as const), ms: fc.nat({ max: 15 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("cut", "cut", "restartSource", "restartSink", "check", "corrupt", "slow"),
    }),
  },
);
const history: fc.Arbitrary<Operation[]> = fc.array(change, { minLength: 20, maxLength: 120 });

/** Throws unless everything that the sink claims to hold of its source is what the source has. */
function verifyClaims(sink: ModelSink, source: ModelSource): void {
  const position = sink.position();
  if (position === undefined || position.ring !== source.ring) return;
  if (!sink.complete) throw new Error("a position of the ring without everything before it");
  for (const [key, record] of source.records()) {
    if (record.seq > position.seq) continue;
    const held = sink.stored.records.get(key);
    if ((held?.hash ?? "") !== record.hash)
      throw new Error(`${key} differs at ${position.seq}, changed at ${record.seq}`);
  }
  if (position.seq < source.floor) return;
  for (const key of sink.objects().keys()) {
    if (!source.records().has(key)) throw new Error(`${key} is held and the source has never heard of it`);
  }
}

class History {
  readonly #bench: StreamBench;
  readonly #check: Pulse;
  #rings = 1;
  #slow = false;
  #corrupted = false;
  readonly violations: unknown[] = [];

  constructor(bench: StreamBench, check: Pulse) {
    this.#bench = bench;
    this.#check = check;
    bench.sink.beforeCommit = async () => {
      if (this.#slow) await sleep(20);
    };
    bench.sink.afterCommit = () => this.#verify();
  }

  #verify(): void {
    // Damage is outside what a stream can know of until it compares.
    if (this.#corrupted) return;
    try {
      verifyClaims(this.#bench.sink, this.#bench.source);
    } catch (error) {
      this.violations.push(error);
    }
  }

  async run(operation: Operation): Promise<void> {
    const bench = this.#bench;
    const name = (key: number) => `/ConfigMap/shop/c${key % keyCount}`;
    switch (operation.kind) {
      case "put":
        bench.source.put(name(operation.key), `${bench.source.head}`.padEnd(operation.bytes, "x"));
        break;
      case "remove":
        bench.source.remove(name(operation.key));
        break;
      case "removeMany":
        for (let i = 0; i < 20; i++) bench.source.remove(name(operation.from + i));
        break;
      case "cut":
        bench.breakStreams();
        break;
      case "restartSource":
        // Streams of the old process end with it.
        bench.source = bench.source.restarted(`r${++this.#rings}`);
        bench.breakStreams();
        break;
      case "restartSink":
        await bench.stopPulling();
        bench.pull();
        break;
      case "check":
        this.#check.raise();
        break;
      case "corrupt":
        this.#corrupted = true;
        bench.sink.corrupt(name(7), "damaged");
        break;
      case "slow":
        this.#slow = !this.#slow;
        break;
      case "pause":
        await sleep(operation.ms);
    }
  }

  async settle(): Promise<void> {
    this.#slow = false;
    if (this.#corrupted) {
      // A check that was asked for during the damage may have come before it.
      await sleep(50);
      this.#check.raise();
    }
    await this.#bench.converged(15_000);
  }
}

describe("a stream under random faults", () => {
  it("never claims what is not so, and converges to the source", async () => {
    await fc.assert(
      fc.asyncProperty(history, async (operations) => {
        const check = new Pulse();
        const source = new ModelSource("r1", { tombstonesMax: 8 });
        await using bench = await StreamBench.start({ source, sink: new ModelSink(), pull: { check } });
        const run = new History(bench, check);
        bench.pull();
        for (const operation of operations) await run.run(operation);
        await run.settle();
        expect(run.violations).toEqual([]);
        expect(bench.sink.objects()).toEqual(bench.source.objects());
      }),
      { numRuns: Number(process.env["LIFEBOAT_STREAM_RUNS"] ?? 40), endOnFailure: true },
    );
  }, 120_000);
});
