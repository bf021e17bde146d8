import { describe, expect, it } from "vitest";
import { checkGroups } from "../../../src/config/check-groups.ts";
import { unmatchedMutations } from "../../../src/config/check-group.ts";
import { parseDuration } from "../../../src/config/duration.ts";
import { parseGroup } from "../../../src/config/parse-group.ts";
import { LifeboatError } from "../../../src/errors.ts";
import type { KubeObject } from "../../../src/objects/object.ts";
import { specTable } from "./spec-table.ts";

const minimal = {
  sites: [{ name: "east" }, { name: "west" }],
  select: { namespaces: { names: ["shop"] } },
};

function group(spec: unknown, name = "shop"): KubeObject {
  return { apiVersion: "lifeboat.dev/v1alpha1", kind: "ProtectionGroup", metadata: { name }, spec };
}

function refusal(spec: unknown): string {
  try {
    parseGroup(group(spec));
  } catch (error) {
    if (error instanceof LifeboatError && error.code === "SpecInvalid") return error.message;
    throw error;
  }
  return "accepted";
}

describe("a ProtectionGroup", () => {
  it("gets every default from a spec that says no more than it must", () => {
    const { group: parsed, warnings } = parseGroup(group(minimal));
    expect(warnings).toEqual([]);
    expect(parsed.spec).toEqual({
      ...minimal,
      mode: "ActiveStandby",
      standby: "Warm",
      suspend: false,
      failover: {
        automatic: false,
        profile: "standard",
        fencing: { policy: "Guard" },
        maxLag: "30s",
        cooldown: "1h",
      },
      deletes: { guard: { percent: 30, minObjects: 10, window: "1m" } },
      adopt: false,
    });
  });

  it.each(specTable)("is $verdict: $title", ({ change, message }) => {
    const said = refusal(change(structuredClone(minimal)));
    if (message === undefined) expect(said).toBe("accepted");
    else expect(said).toContain(message);
  });

  it("tells all that is wrong at once, each with its field", () => {
    const said = refusal({ ...minimal, mode: "Foo", suspend: "yes", slect: {} });
    expect(said.split("\n")).toEqual([
      "ProtectionGroup shop: spec.mode: must be one of ActiveStandby, ActiveActive",
      "spec.suspend: must be a boolean, not a string",
      "spec.slect: unknown field; did you mean select?",
    ]);
  });

  it("is refused when it is something else", () => {
    const other = { ...group(minimal), kind: "RecoveryPoint" };
    expect(() => parseGroup(other)).toThrow("kind: must be ProtectionGroup of lifeboat.dev");
  });

  it("refuses a pilot light where both sites run the group", () => {
    const spec = { ...minimal, mode: "ActiveActive", standby: "PilotLight" };
    expect(() => parseGroup(group(spec))).toThrow("spec.standby: PilotLight has no standby to keep in ActiveActive");
  });

  it("warns of what is accepted but does nothing", () => {
    const { warnings } = parseGroup(
      group({
        ...minimal,
        mutations: [{ match: {}, when: "standby", replicas: 1 }],
        failover: { surge: { percent: 200 }, profile: "test" },
      }),
    );
    expect(warnings).toEqual([
      "spec.mutations[0].replicas: has no effect with when: standby; a standby runs nothing",
      "spec.mutations[0].match: is empty and matches every object of the group",
      "spec.failover.surge: has an effect in mode ActiveActive only",
      "spec.failover.profile: test is for tests; a busy site would lose its lease",
    ]);
  });

  it.each([
    [
      { mode: "ActiveActive", failover: { automatic: true } },
      "spec.failover.fencing.policy: node guards stop whole namespaces, and in mode ActiveActive only what is single " +
        "must stop; without Unproven the witness does not take that over by itself, and a person decides",
    ],
    [
      { failover: { fencing: { policy: "Storage" } } },
      "spec.failover.fencing.policy: Storage is not there yet; it is treated as Guard: the witness moves the group by " +
        "itself only while every node has a node guard",
    ],
    [{ suspend: true }, "spec.suspend: nothing is applied at the standby until it is false; its journal goes on"],
  ])("warns of what does not do all that it says: %o", (change, warning) => {
    expect(parseGroup(group({ ...minimal, ...change })).warnings).toEqual([warning]);
  });

  it("warns of nothing where nothing is odd", () => {
    expect(parseGroup(group(minimal)).warnings).toEqual([]);
  });
});

describe("mutations", () => {
  it("that match nothing in the group are named", () => {
    const { spec } = parseGroup(
      group({
        ...minimal,
        mappings: { namespaces: [{ east: "shop", west: "shop-dr" }] },
        mutations: [
          { match: { kinds: ["apps/*"], names: ["w*b"], namespaces: ["shop"] }, replicas: 2 },
          { match: { kinds: ["Deployment"] }, replicas: 2 },
          { match: { names: ["api"] }, replicas: 2 },
        ],
      }),
    ).group;
    expect(unmatchedMutations(spec, ["apps/Deployment/shop-dr/web"], "west")).toEqual([
      "spec.mutations[1]: matches no object of the group",
      "spec.mutations[2]: matches no object of the group",
    ]);
  });
});

describe("groups that share a site", () => {
  const named = (name: string, spec: object) => parseGroup(group({ ...minimal, ...spec }, name)).group;

  it("may not share a namespace", () => {
    const problems = checkGroups([named("one", {}), named("two", {})]);
    expect([...problems]).toEqual([["two", ["namespace shop at east already belongs to the group one"]]]);
  });

  it("may not map two namespaces to one", () => {
    const one = named("one", { mappings: { namespaces: [{ east: "shop", west: "store" }] } });
    const two = named("two", { select: { namespaces: { names: ["store"] } } });
    expect([...checkGroups([one, two])]).toEqual([
      ["two", ["namespace store at west already belongs to the group one"]],
    ]);
  });

  it("are judged by the namespaces that their selectors found, where those are known", () => {
    const two = named("two", { select: { namespaces: { selector: { matchLabels: { tier: "gold" } } } } });
    const found = new Map([["two", ["shop", "store"]]]);
    expect([...checkGroups([named("one", {}), two], found).keys()]).toEqual(["two"]);
    expect(checkGroups([named("one", {}), two]).size).toBe(0);
  });
});

describe("a spec that was read before", () => {
  it("is the same one until something in it changes, whoever's it is", () => {
    const { spec } = parseGroup(group(minimal)).group;
    expect(parseGroup(group({ ...minimal }, "other")).group.spec).toBe(spec);
    expect(parseGroup(group({ ...minimal, suspend: true })).group.spec).toMatchObject({ suspend: true });
  });

  it("is refused again by the name of its own group", () => {
    const wrong = { ...minimal, suspended: true };
    expect(() => parseGroup(group(wrong))).toThrow("ProtectionGroup shop: ");
    expect(() => parseGroup(group(wrong, "other"))).toThrow("ProtectionGroup other: ");
  });
});

describe("durations", () => {
  it("add up their parts", () => {
    expect(parseDuration("1h1m1.5s20ms")).toBe(3_661_520);
    expect(() => parseDuration("5")).toThrow("not a duration");
    expect(() => parseDuration("5s ")).toThrow("not a duration");
  });
});
