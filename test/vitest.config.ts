import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { SlowestFirst } from "./order.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const temporary = "test/temporary.ts";

/**
 * Four projects, cheapest first:
 * - `unit`: pure code and single processes, no cluster
 * - `sim`: the failover protocol simulated
 * - `clusters`: two real control planes, shared by all files
 * - `nodes`: beds of their own, with nodes, faults and killed sites; three files at a time, since most of it is waiting
 *
 * The last two run whole clusters on whatever machine there is: a test that fails there is tried once more, and the
 * report says so. A defect fails twice.
 */
export default defineConfig({
  root,
  test: {
    reporters: ["default"],
    sequence: { sequencer: SlowestFirst },
    projects: [
      {
        root,
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: [temporary],
          testTimeout: 20_000,
          // Most of it is waiting for clocks.
          maxWorkers: 4,
          sequence: { groupOrder: 0 },
        },
      },
      {
        root,
        test: {
          name: "sim",
          include: ["test/sim/**/*.test.ts"],
          testTimeout: 300_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        root,
        test: {
          name: "clusters",
          include: ["test/clusters/**/*.test.ts"],
          globalSetup: ["test/clusters/setup.ts"],
          setupFiles: [temporary],
          testTimeout: 120_000,
          retry: 1,
          hookTimeout: 120_000,
          maxWorkers: 4,
          sequence: { groupOrder: 2 },
        },
      },
      {
        root,
        test: {
          name: "nodes",
          include: ["test/nodes/**/*.test.ts"],
          testTimeout: 300_000,
          retry: 1,
          hookTimeout: 300_000,
          maxWorkers: 3,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
