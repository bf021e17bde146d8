import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { ensurePrograms } from "../bed/programs.ts";
import { kubeconfigs } from "./sites.ts";

const run = promisify(execFile);

async function kubectl(kubeconfig: string, ...args: string[]): Promise<string> {
  const programs = await ensurePrograms(["kubectl"]);
  return (await run(programs.get("kubectl") ?? "kubectl", [`--kubeconfig=${kubeconfig}`, ...args])).stdout;
}

test.each(["east", "west"] as const)("%s runs a Deployment on simulated nodes", async (name) => {
  const kubeconfig = kubeconfigs()[name];
  const namespace = `bed-${name}-${process.pid}`;
  await kubectl(kubeconfig, "create", "namespace", namespace);
  try {
    await kubectl(kubeconfig, "-n", namespace, "create", "deployment", "web", "--image=any/image:1", "--replicas=3");
    await kubectl(kubeconfig, "-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s");
    const ready = await kubectl(
      kubeconfig,
      "-n",
      namespace,
      "get",
      "deployment/web",
      "-o",
      "jsonpath={.status.readyReplicas}",
    );
    expect(ready).toBe("3");
  } finally {
    await kubectl(kubeconfig, "delete", "namespace", namespace, "--wait=false");
  }
});

test("the sites are two clusters", async () => {
  const { east, west } = kubeconfigs();
  const uid = async (kubeconfig: string): Promise<string> =>
    kubectl(kubeconfig, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}");
  expect(await uid(east)).not.toBe(await uid(west));
});
