import { describe, expect, it } from "vitest";
import { compareEpoch } from "../../../src/failover/epoch.ts";
import { compareEpochs, formatEpoch, parseEpoch } from "../../../src/objects/epoch.ts";

describe("epochs", () => {
  it("are ordered by generation, then counter, as numbers", () => {
    const ordered = ["1.9", "1.10", "2.1", "10.0"];
    expect(ordered.toReversed().sort(compareEpochs)).toEqual(ordered);
    expect(compareEpochs("3.1.west", "3.1.west")).toBe(0);
  });

  it("that a person forced come after what was granted with the same numbers, as in the protocol", () => {
    const ordered = ["3.1", "3.1.east", "3.1.west", "3.2"];
    expect(ordered.toReversed().sort(compareEpochs)).toEqual(ordered);
    const epochs = ordered.map((text) => ({ ...parseEpoch(text), nonce: "n" }));
    const protocol = epochs.map(({ forcedBy = "", ...rest }) => ({ ...rest, forcedBy }));
    for (const [at, epoch] of protocol.entries()) {
      expect(protocol.map((other) => compareEpoch(epoch, other))).toEqual(
        ordered.map((_text, index) => (index === at ? "same" : index < at ? "newer" : "older")),
      );
    }
  });

  it("keep the site that forced them, and refuse what is none", () => {
    expect(formatEpoch(parseEpoch("1763700000.4.west"))).toBe("1763700000.4.west");
    for (const text of ["", "3", "3.", "-1.2", "3.x", "1.2.West", "1.2.a.b"]) {
      expect(() => parseEpoch(text), text).toThrow("not an epoch");
    }
  });
});
