import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import { randomFrom } from "../random.ts";
import { type ApplyBench, applyBench, atEast, configMap, deployment, eventually, never, ns } from "./apply-harness.ts";

const names = ["a", "b", "c", "d", "e", "f"];
const stepCount = 120;

class History {
  readonly #bench: ApplyBench;
  readonly #random: () => number;
  readonly #source = new Map<string, KubeObject>();
  readonly log: string[] = [];

  constructor(bench: ApplyBench, random: () => number) {
    this.#bench = bench;
    this.#random = random;
  }

  get source(): ReadonlyMap<string, KubeObject> {
    return this.#source;
  }

  #pick<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.#random() * list.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  #made(): KubeObject {
    const { namespace } = this.#bench;
    const name = this.#pick(names);
    const value = String(Math.floor(this.#random() * 1000));
    if (this.#random() < 0.5) return configMap(namespace, name, { [this.#pick(["x", "y", "z"])]: value, value });
    const env = names.filter(() => this.#random() < 0.4).map((item) => ({ name: item, value }));
    return deployment(namespace, name, { replicas: 3, env, app: this.#pick(["one", "one", "one", "two"]) });
  }

  async #change(): Promise<string> {
    const object = await atEast(this.#bench, this.#made());
    this.#source.set(keyOf(object), object);
    await this.#bench.send(object);
    return `change ${keyOf(object)}`;
  }

  async #delete(): Promise<string> {
    const [key] = [...this.#source.keys()].filter(() => this.#random() < 0.3);
    if (key === undefined) return "nothing";
    this.#source.delete(key);
    await this.#bench.sendDeletes(key);
    return `delete ${key}`;
  }

  /** Somebody at the standby edits or deletes a copy. */
  async #tamper(): Promise<string> {
    const { west } = this.#bench;
    const object = this.#made();
    if ((await west.get(object)) === undefined) return "nothing";
    if (this.#random() < 0.3) {
      await west.client.delete(west.resource(object), object.metadata, { signal: never });
      return `tamper: delete ${keyOf(object)}`;
    }
    const manager = `person-${Math.floor(this.#random() * 1000)}`;
    const body =
      object.kind === "ConfigMap"
        ? { data: { [this.#pick(["x", "y", "theirs"])]: "tampered" } }
        : { spec: { replicas: 2 }, metadata: { labels: { theirs: "x" } } };
    const place = object.metadata;
    await west.client
      .patch(west.resource(object), place, { type: "merge", body }, { fieldManager: manager, signal: never })
      .catch(() => undefined);
    return `tamper: edit ${keyOf(object)}`;
  }

  async step(): Promise<void> {
    const draw = this.#random();
    if (draw < 0.55) this.log.push(await this.#change());
    else if (draw < 0.75) this.log.push(await this.#delete());
    else if (draw < 0.96) this.log.push(await this.#tamper());
    else {
      this.log.push("restart");
      await this.#bench.restart();
    }
  }
}

async function objectsAt(bench: ApplyBench): Promise<string[]> {
  const keys: string[] = [];
  const { client, resource } = bench.west;
  const labelSelector = `${marks.group}=${bench.group}`;
  for (const kind of [configMap("", "", {}), deployment("", "")]) {
    for await (const page of client.list(resource(kind), {
      namespace: bench.namespace,
      labelSelector,
      signal: never,
    })) {
      keys.push(...page.items.map(keyOf));
    }
  }
  return keys.sort();
}

const seed = Number(process.env["APPLY_SEED"] ?? Date.now() % 1_000_000);

test(`whatever the source, people at the standby and restarts do, the two agree in the end (seed ${seed})`, async () => {
  await using bench = await applyBench({ deletes: { guard: { percent: 100, minObjects: 1_000, window: "1m" } } });
  await bench.send(ns(bench.namespace));
  const history = new History(bench, randomFrom(seed));
  for (let step = 0; step < stepCount; step++) await history.step();
  try {
    await bench.settled();
    await eventually(async () => {
      const differing = (await bench.applier.diff({ signal: never })).filter(({ what }) => what !== "withheld");
      expect(differing).toEqual([]);
      expect(await objectsAt(bench)).toEqual([...history.source.keys()].sort());
      return true;
    }, 30_000);
    expect(bench.applier.status()).toMatchObject({ failingCount: 0, conflictCount: 0, contested: [], pending: 0 });
    expect(bench.journal.applied()).toBe(bench.journal.position()?.seq);
  } catch (error) {
    throw new Error(history.log.join("\n"), { cause: error });
  }
});
