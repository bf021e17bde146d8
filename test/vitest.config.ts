import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL("..", import.meta.url));

const temporary = "test/temporary.ts";
const operators = "test/clusters/apply-operators.test.ts";

/**
 * Five projects, cheapest first:
 * - `unit`: pure code and single processes, no cluster
 * - `sim`: the failover protocol simulated
 * - `clusters`: two real control planes, shared by all files
 * - `operators`: the same, alone: the kinds of several operators come and go there, which an API server that serves
 *   other tests' broken kinds at the same time is slow to show
 * - `nodes`: beds of their own, with nodes, faults and killed sites; two files at a time, since most of it is waiting
 *
 * The last two run whole clusters on whatever machine there is: a test that fails there is tried once more, and the
 * report says so. A defect fails twice.
 */
export default defineConfig({
  root,
  test: {
    reporters: ["default"],
    projects: [
      {
        root,
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: [temporary],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        root,
        test: { name: "sim", include: ["test/sim/**/*.test.ts"], testTimeout: 300_000, sequence: { groupOrder: 1 } },
      },
      {
        root,
        test: {
          name: "clusters",
          include: ["test/clusters/**/*.test.ts"],
          exclude: [operators],
          globalSetup: ["test/clusters/setup.ts"],
          setupFiles: [temporary],
          testTimeout: 120_000,
          retry: 1,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        root,
        test: {
          name: "operators",
          include: [operators],
          globalSetup: ["test/clusters/setup.ts"],
          setupFiles: [temporary],
          testTimeout: 120_000,
          retry: 1,
          hookTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
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
          maxWorkers: 2,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
