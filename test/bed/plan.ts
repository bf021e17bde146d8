import { LifeboatError } from "../../src/errors.ts";
import { siteCountMax } from "./network.ts";
import type { BedOptions, Isolation, SitePlan } from "./options.ts";

/** A site's name becomes part of file names, cgroup names and contexts. */
const sitePattern = /^[a-z][a-z0-9-]{0,30}$/;

const reservedNames: ReadonlySet<string> = new Set(["host", "witness", "wire"]);

/** Every site with its options decided; throws ConfigInvalid naming what is wrong. */
export function planSites(options: BedOptions, isolation: Isolation): SitePlan[] {
  const sites = (options.sites ?? ["east", "west"]).map((site) => (typeof site === "string" ? { name: site } : site));
  if (sites.length === 0 || sites.length > siteCountMax) {
    throw new LifeboatError("ConfigInvalid", `a bed has 1 to ${siteCountMax} sites, not ${sites.length}`);
  }
  const plans = sites.map((site, index): SitePlan => {
    const merged = { ...options, ...site };
    return {
      name: site.name,
      index,
      controllers: merged.controllers ?? true,
      nodes: merged.nodes ?? "none",
      nodeCount: merged.nodeCount ?? 3,
      emulatedVersion: merged.emulatedVersion,
      apiserverFlags: merged.apiserverFlags ?? [],
    };
  });
  const seen = new Set<string>();
  for (const plan of plans) checkPlan(plan, isolation, seen);
  return plans;
}

function checkPlan(plan: SitePlan, isolation: Isolation, seen: Set<string>): void {
  if (!sitePattern.test(plan.name) || reservedNames.has(plan.name)) {
    throw new LifeboatError("ConfigInvalid", `"${plan.name}" cannot be the name of a site`, {
      hint: "lower-case letters, digits and dashes; not host, witness or wire",
    });
  }
  if (seen.has(plan.name)) throw new LifeboatError("ConfigInvalid", `two sites are named ${plan.name}`);
  seen.add(plan.name);
  if (plan.nodes === "real" && isolation === "loopback") {
    throw new LifeboatError("NeedsRoot", "real nodes need root: namespaces, cgroups and mounts", {
      hint: "run as root, or choose simulated nodes",
    });
  }
  if (plan.nodes !== "none" && !plan.controllers) {
    throw new LifeboatError("ConfigInvalid", `${plan.name}: nodes without controllers run nothing`);
  }
}

/** Programs that the sites need, each once. */
export function programsFor(plans: readonly SitePlan[]): string[] {
  const names = new Set(["etcd", "kube-apiserver", "kubectl"]);
  for (const plan of plans) {
    if (plan.controllers) names.add("kube-controller-manager").add("kube-scheduler");
    if (plan.nodes === "simulated") names.add("kwok");
    if (plan.nodes === "real") names.add("kubelet").add("kube-proxy").add("agnhost");
  }
  return [...names];
}
