import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Pulse } from "../../../src/abort.ts";
import { eventually } from "../rpc/pair.ts";
import { ModelSink, ModelSource } from "./model.ts";
import { StreamBench, type BenchOptions } from "./streams.ts";

const kibibyte = "x".repeat(1024);

function filled(ring: string, count: number, options: ConstructorParameters<typeof ModelSource>[1] = {}): ModelSource {
  const source = new ModelSource(ring, options);
  for (let i = 0; i < count; i++) source.put(`/ConfigMap/shop/c${i}`, JSON.stringify({ i, kibibyte }));
  return source;
}

function start(options: Partial<BenchOptions> = {}): Promise<StreamBench> {
  return StreamBench.start({ source: new ModelSource("r1"), sink: new ModelSink(), ...options });
}

describe("a stream", () => {
  it("carries a first sync, then changes and deletes as they happen, and acknowledges them", async () => {
    await using bench = await start({ source: filled("r1", 3000) });
    bench.pull();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.sink.complete).toBe(true);
    bench.source.put("/ConfigMap/shop/c1", "{}");
    bench.source.remove("/ConfigMap/shop/c2");
    bench.source.put("/Secret/shop/new", '{"ünïcode":"☃"}');
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    await eventually(() => bench.source.acks.at(-1)?.durable === bench.source.head);
    bench.sink.setApplied(2998);
    await eventually(() => bench.source.acks.at(-1)?.applied === 2998);
  });

  it("delivers a change within milliseconds of a quiet stream", async () => {
    await using bench = await start({ source: filled("r1", 10) });
    bench.pull();
    await bench.converged();
    const delays: number[] = [];
    for (let i = 0; i < 20; i++) {
      await sleep(10);
      bench.source.put("/ConfigMap/shop/c1", `{"i":${i}}`);
      delays.push(await bench.converged());
    }
    delays.sort((a, b) => a - b);
    expect(delays[10]).toBeLessThan(20);
  });

  it("sends a burst of changes to one key as few records", async () => {
    await using bench = await start({ source: filled("r1", 1) });
    bench.pull();
    await bench.converged();
    const before = bench.sink.recordsReceived;
    for (let i = 0; i < 5000; i++) {
      bench.source.put("/ConfigMap/shop/hot", `{"i":${i}}`);
      if (i % 50 === 0) await sleep(0);
    }
    await bench.converged();
    expect(bench.sink.recordsReceived - before).toBeLessThan(500);
  });

  it("goes on where it was after a cut, without a comparison", async () => {
    await using bench = await start({ source: filled("r1", 2000) });
    bench.pull();
    await bench.converged();
    const before = bench.sink.recordsReceived;
    bench.breakStreams();
    for (let i = 0; i < 20; i++) bench.source.put(`/ConfigMap/shop/c${i}`, "{}");
    bench.source.remove("/ConfigMap/shop/c100");
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.sink.recordsReceived - before).toBe(21);
    expect(bench.events.filter((event) => event.kind === "welcome").map((event) => event.resumed)).toEqual([
      false,
      true,
    ]);
    expect(bench.countEvents("compared")).toBe(1);
  });

  it("compares digests when the source has restarted, and what that costs follows the number of differences", async () => {
    await using bench = await start({ source: filled("r1", 5000) });
    bench.pull();
    await bench.converged(20_000);
    const firstSyncBytes = bench.proxy.bytes.toClient + bench.proxy.bytes.toTarget;
    await bench.stopPulling();

    const restarted = bench.source.restarted("r2");
    for (let i = 0; i < 30; i++) restarted.put(`/ConfigMap/shop/c${i}`, `{"changed":${i},"k":"${kibibyte}"}`);
    for (let i = 100; i < 110; i++) restarted.remove(`/ConfigMap/shop/c${i}`);
    for (let i = 0; i < 10; i++) restarted.put(`/ConfigMap/shop/new${i}`, kibibyte);
    bench.source = restarted;
    bench.proxy.bytes = { toClient: 0, toTarget: 0 };
    const before = bench.sink.recordsReceived;
    bench.pull();
    await bench.converged();
    const resyncBytes = bench.proxy.bytes.toClient + bench.proxy.bytes.toTarget;

    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.sink.recordsReceived - before).toBe(50);
    // 1 % of 5,000 objects differ: their records, 8 KiB of digests, and keys and hashes of about 50 buckets.
    expect(resyncBytes / firstSyncBytes).toBeLessThan(0.025);
    // Equal ends cost the digests alone.
    await bench.stopPulling();
    bench.source = bench.source.restarted("r3");
    bench.proxy.bytes = { toClient: 0, toTarget: 0 };
    bench.pull();
    await bench.converged();
    expect(bench.proxy.bytes.toClient + bench.proxy.bytes.toTarget).toBeLessThan(16_000);
  });

  it("does not mistake the numbers of another ring for its own", async () => {
    await using bench = await start({ source: filled("r1", 50) });
    bench.pull();
    await bench.converged();
    await bench.stopPulling();
    const other = new ModelSource("r2");
    for (let i = 0; i < 200; i++) other.put(`/ConfigMap/shop/o${i}`, "{}");
    bench.source = other;
    bench.pull();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(other.objects());
  });

  it("learns of deletes whose tombstones the ring has forgotten, while it was away and while it was slow", async () => {
    await using bench = await start({ source: filled("r1", 500, { tombstonesMax: 5 }) });
    bench.pull();
    await bench.converged();
    await bench.stopPulling();
    for (let i = 0; i < 50; i++) bench.source.remove(`/ConfigMap/shop/c${i}`);
    bench.pull();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());

    const gate = Promise.withResolvers<void>();
    bench.sink.beforeCommit = () => gate.promise;
    for (let i = 50; i < 400; i++) {
      bench.source.put(`/ConfigMap/shop/c${i}`, kibibyte.repeat(30));
      if (i % 40 === 0) await sleep(5);
    }
    for (let i = 400; i < 450; i++) bench.source.remove(`/ConfigMap/shop/c${i}`);
    gate.resolve();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
  });

  it("never shows a part as the whole: a comparison that was cut off is done again", async () => {
    await using bench = await start({ source: filled("r1", 2000) });
    let commits = 0;
    bench.sink.beforeCommit = async ({ complete, position }) => {
      if (!complete) expect(position.ring).toBe("");
      if (++commits === 3) bench.breakStreams();
    };
    bench.pull();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.events.filter((event) => event.kind === "welcome").map((event) => event.resumed)).toEqual([
      false,
      false,
    ]);
    // What had arrived the first time is not sent again.
    expect(bench.sink.recordsReceived).toBeLessThan(2300);
  });

  it("waits for the source's first list before it takes anything for absent", async () => {
    const source = new ModelSource("r1", { synced: false });
    const sink = new ModelSink();
    sink.corrupt("/ConfigMap/shop/kept", "{}");
    await using bench = await start({ source, sink });
    bench.pull();
    await sleep(300);
    expect(sink.objects().size).toBe(1);
    expect(sink.complete).toBe(false);
    source.put("/ConfigMap/shop/kept", "{}");
    source.markSynced();
    await bench.converged();
    expect(sink.objects().size).toBe(1);
  });

  it("finds and repairs what differs although nobody changed it, on demand and by itself", async () => {
    const check = new Pulse();
    await using bench = await start({ source: filled("r1", 500), pull: { check } });
    bench.pull();
    await bench.converged();
    bench.sink.corrupt("/ConfigMap/shop/c1", '{"wrong":true}');
    bench.sink.corrupt("/ConfigMap/shop/c2", undefined);
    bench.sink.corrupt("/ConfigMap/shop/c9999", "{}");
    const before = bench.sink.recordsReceived;
    check.raise();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.sink.recordsReceived - before).toBe(3);
    await bench.stopPulling();

    await using regular = await start({ source: filled("r1", 50), pull: { checkEveryMs: 100 } });
    regular.pull();
    await regular.converged();
    regular.sink.corrupt("/ConfigMap/shop/c1", undefined);
    await regular.converged();
    expect(regular.sink.objects()).toEqual(regular.source.objects());
  });

  it("makes a check that was asked for on a stream that then broke", async () => {
    const check = new Pulse();
    await using bench = await start({ source: filled("r1", 50), pull: { check } });
    bench.pull();
    await bench.converged();
    bench.sink.corrupt("/ConfigMap/shop/c1", undefined);
    bench.proxy.mode = "silent";
    check.raise();
    await sleep(50);
    bench.breakStreams();
    bench.proxy.mode = "pass";
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
  });

  it("compares many times under constant change without ever sending too much or standing still", async () => {
    const check = new Pulse();
    await using bench = await start({ source: filled("r1", 300), pull: { check } });
    bench.pull();
    await bench.converged();
    const before = bench.sink.recordsReceived;
    for (let i = 0; i < 300; i++) {
      bench.source.put(`/ConfigMap/shop/c${i % 20}`, `{"i":${i}}`);
      if (i % 10 === 0) check.raise();
      if (i % 3 === 0) await sleep(1);
    }
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
    expect(bench.events.filter((event) => event.kind === "compared" && event.differing > 0)).toHaveLength(1);
    expect(bench.sink.recordsReceived - before).toBeLessThanOrEqual(300);
  });

  it("holds a bounded amount for a sink that does not keep up", async () => {
    const source = filled("r1", 0);
    for (let i = 0; i < 2000; i++) source.put(`/ConfigMap/shop/c${i}`, kibibyte.repeat(16));
    await using bench = await start({ source });
    const gate = Promise.withResolvers<void>();
    let held = 0;
    bench.sink.beforeCommit = async () => {
      held++;
      if (held > 5) await gate.promise;
    };
    bench.pull();
    await eventually(() => held > 5);
    await sleep(300);
    const atStall = bench.proxy.bytes.toClient;
    await sleep(300);
    expect(bench.proxy.bytes.toClient - atStall).toBeLessThan(2000);
    // 32 MB wait at the source; the credit lets through 4 MiB beyond what was committed.
    expect(atStall).toBeLessThan(12_000_000);
    gate.resolve();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(source.objects());
  });

  it("carries objects larger than a batch", async () => {
    await using bench = await start();
    bench.source.put("/ConfigMap/shop/large", kibibyte.repeat(1400));
    bench.source.put("/ConfigMap/shop/small", "{}");
    bench.source.put("/ConfigMap/shop/larger", kibibyte.repeat(3000));
    bench.pull();
    await bench.converged();
    expect(bench.sink.objects()).toEqual(bench.source.objects());
  });

  it("compresses batches where it is told to", async () => {
    const plain = await bytesOfFirstSync("NONE");
    const compressed = await bytesOfFirstSync("ZSTD");
    expect(compressed / plain).toBeLessThan(0.2);
  });
});

async function bytesOfFirstSync(compression: "NONE" | "ZSTD"): Promise<number> {
  await using bench = await start({ source: filled("r1", 1000), serve: { compression } });
  bench.pull();
  await bench.converged();
  expect(bench.sink.objects()).toEqual(bench.source.objects());
  return bench.proxy.bytes.toClient;
}

describe("epochs on the stream", () => {
  it("a standby refuses a source of an older epoch, and tells it the newer one", async () => {
    const heard: string[] = [];
    const sink = new ModelSink();
    sink.stored.epoch = "1.5";
    await using bench = await start({
      source: filled("r1", 10, { epoch: "1.4" }),
      sink,
      serve: { onNewerEpoch: (epoch) => heard.push(epoch) },
    });
    bench.pull();
    await eventually(() => bench.ends.length > 0);
    expect(bench.ends[0]).toMatchObject({ code: "FailoverRefused" });
    expect(heard[0]).toBe("1.5");
    expect(sink.objects().size).toBe(0);
    expect(sink.stored.epoch).toBe("1.5");
  });

  it("a standby that learns of a newer epoch in the middle of a stream refuses what follows", async () => {
    await using bench = await start({ source: filled("r1", 10, { epoch: "1.4" }) });
    bench.pull();
    await bench.converged();
    const before = bench.sink.objects();
    bench.sink.stored.epoch = "1.5";
    bench.source.put("/ConfigMap/shop/late", "{}");
    await eventually(() => bench.ends.length > 0);
    expect(bench.ends[0]).toMatchObject({ code: "FailoverRefused" });
    await eventually(() => bench.serveErrors.some((error) => String(error).includes("1.5")));
    expect(bench.sink.objects()).toEqual(before);
  });

  it("a source that is active again under a newer epoch is followed at once", async () => {
    await using bench = await start({ source: filled("r1", 10, { epoch: "1.4" }) });
    bench.pull();
    await bench.converged();
    bench.source.epoch = "1.6";
    bench.source.put("/ConfigMap/shop/later", "{}");
    await bench.converged();
    expect(bench.sink.stored.epoch).toBe("1.6");
  });
});

describe("faults of the path", () => {
  it("a silent link is noticed within 4 s and the stream goes on within 3 s of its return", async () => {
    await using bench = await start({ source: filled("r1", 100) });
    bench.pull();
    await bench.converged();
    const silentMs = performance.now();
    bench.proxy.mode = "silent";
    await eventually(() => bench.ends.length > 0);
    expect(performance.now() - silentMs).toBeLessThan(4500);
    expect(bench.ends[0]).toMatchObject({ code: "PeerUnreachable" });
    bench.source.put("/ConfigMap/shop/meanwhile", "{}");
    bench.proxy.mode = "pass";
    expect(await bench.converged()).toBeLessThan(3000);
  });
});
