import { basename } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files of minutes that are short to read: Vitest would start them last, and the whole run would wait for them. */
const slow = ["demo-awkward", "demo-builtin", "agent-election", "chaos"];

/** Files in Vitest's own order (what took long the last time, else what is large), the slow ones before. */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isSlow = ({ moduleId }: TestSpecification): boolean => slow.includes(basename(moduleId, ".test.ts"));
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))];
  }
}
