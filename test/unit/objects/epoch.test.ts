import { describe, expect, it } from "vitest";
import { compareEpochs, formatEpoch, parseEpoch } from "../../../src/objects/epoch.ts";

describe("epochs", () => {
  it("are ordered by generation, then counter, as numbers", () => {
    const ordered = ["1.9", "1.10", "2.1", "10.0"];
    expect(ordered.toReversed().sort(compareEpochs)).toEqual(ordered);
    expect(compareEpochs("3.1.west", "3.1")).toBe(0);
  });

  it("keep the site that forced them, and refuse what is none", () => {
    expect(formatEpoch(parseEpoch("1763700000.4.west"))).toBe("1763700000.4.west");
    for (const text of ["", "3", "3.", "-1.2", "3.x", "1.2.West", "1.2.a.b"]) {
      expect(() => parseEpoch(text), text).toThrow("not an epoch");
    }
  });
});
