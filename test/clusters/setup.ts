/**
 * Starts the two sites that all files of the `clusters` project share, once. Each test takes a namespace of its own.
 * `LIFEBOAT_CLUSTERS=<kubeconfig of east>,<kubeconfig of west>` uses clusters that run already.
 */
import type { TestProject } from "vitest/node";
import { startBed } from "../bed/bed.ts";
import type { Kubeconfigs } from "./sites.ts";

function fromEnvironment(): Kubeconfigs | undefined {
  const given = process.env["LIFEBOAT_CLUSTERS"];
  if (given === undefined || given === "") return undefined;
  const [east, west] = given.split(",");
  if (east === undefined || west === undefined) {
    throw new Error("LIFEBOAT_CLUSTERS wants two kubeconfigs: <east>,<west>");
  }
  return { east, west };
}

export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const running = fromEnvironment();
  if (running !== undefined) {
    project.provide("kubeconfigs", running);
    return undefined;
  }
  const bed = await startBed({
    sites: ["east", "west"],
    nodes: "simulated",
    install: true,
    report: (line) => console.log(`bed: ${line}`),
  });
  project.provide("kubeconfigs", { east: bed.site("east").kubeconfigPath, west: bed.site("west").kubeconfigPath });
  return async () => bed.stop();
}
