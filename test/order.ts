import { basename } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Files of two minutes and more, in an order in which those that keep processors busy and those that mostly wait for a
 * lease to end come side by side. Vitest would begin with what is long to read, and the whole run would wait for these.
 */
const slow = [
  "demo-awkward",
  "agent-election",
  "guard-node",
  "demo-builtin",
  "guard-failover",
  "agent-replication",
  "chaos",
  "agent-failover",
  "bed-cleanup",
  "agent-operator",
];

/** The slow files first, the others in Vitest's own order: what took long the last time, else what is large. */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = slow.indexOf(basename(moduleId, ".test.ts"));
      return at < 0 ? slow.length : at;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
