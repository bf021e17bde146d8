import { describe, expect, it } from "vitest";
import { troubledKinds, troubleVerdict } from "../../../src/agent/kind-troubles.ts";
import { mayFollowRestored } from "../../../src/agent/rewind.ts";
import type { KindState, KindTrouble } from "../../../src/capture/watch-table.ts";
import { parseGroup } from "../../../src/config/parse-group.ts";

function state(group: string, kind: string, trouble?: KindTrouble, change: Partial<KindState> = {}): KindState {
  return {
    group,
    kind,
    plural: `${kind.toLowerCase()}s`,
    namespaced: true,
    version: "v1",
    trouble,
    namespace: undefined,
    phase: trouble === undefined || trouble === "unreadable" ? "watching" : trouble,
    synced: trouble === undefined,
    lastEventAgeMs: 0,
    objectCount: 0,
    error: undefined,
    handlerFailureCount: 0,
    highest: "1",
    ...change,
  };
}

function troubles(states: readonly KindState[], exclude: object[] = [], uncommon = new Map<string, string>()) {
  const select = { namespaces: { names: ["shop"] }, exclude };
  const { group } = parseGroup({
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: "shop" },
    spec: { sites: [{ name: "east" }, { name: "west" }], select, failover: { fencing: { policy: "Unproven" } } },
  });
  return troubledKinds(states, {
    name: "shop",
    site: "east",
    spec: group.spec,
    namespaces: ["shop", "cart"],
    uncommon,
  });
}

describe("kinds that cannot be followed", () => {
  it("are named with the line of RBAC that is missing", () => {
    const found = troubles([state("", "Secret", "forbidden"), state("", "ConfigMap")]);
    expect(found).toEqual([
      {
        what: "forbidden",
        kind: "Secret",
        message:
          "no permission to read Secret in shop, cart: give the agent " +
          '{apiGroups: [""], resources: ["secrets"], verbs: ["get", "list", "watch"]}, or exclude the kind',
      },
    ]);
  });

  it("are none where permission in each namespace of the group is enough", () => {
    const [cluster, shop] = [state("", "Secret", "forbidden"), state("", "Secret", undefined, { namespace: "shop" })];
    expect(troubles([cluster, shop])[0]?.message).toContain("Secret in cart:");
    expect(troubles([cluster, shop, state("", "Secret", undefined, { namespace: "cart" })])).toEqual([]);
  });

  it("are none that the group excludes as a whole", () => {
    const forbidden = [state("", "Secret", "forbidden"), state("example.com", "Widget", "unreadable")];
    expect(troubles(forbidden, [{ kinds: ["Secret", "example.com/*"] }])).toEqual([]);
    expect(troubles(forbidden, [{ kinds: ["Secret"], names: ["a*"] }])).toHaveLength(2);
  });

  it("give the worst as the condition's reason, and count those that are not told", () => {
    expect(troubleVerdict([])).toBeUndefined();
    const many = ["A", "B", "C", "D", "E"].map((kind) => state("example.com", kind, "missing"));
    const found = troubles([...many, state("", "Secret", "rewound")], [], new Map([["example.com/A", "no version"]]));
    const [reason, message] = troubleVerdict(found) ?? [];
    expect(reason).toBe("KindsRewound");
    expect(message).toMatch(/^the API server was restored.*`lifeboat accept-rewind shop`/);
    expect(message).toContain("the same for 4 more kinds");
  });
});

describe("a restored API server", () => {
  it("is followed without asking where no group runs here, and where one does not because another is taken down", () => {
    expect(mayFollowRestored([])).toBe(true);
    expect(mayFollowRestored(["copy", "copy"])).toBe(true);
    expect(mayFollowRestored(["copy", "own"])).toBe(false);
    expect(mayFollowRestored(["none"])).toBe(false);
    expect(mayFollowRestored(["copy", "held"])).toBe(true);
    expect(mayFollowRestored(["own", "held"])).toBe(false);
  });
});
