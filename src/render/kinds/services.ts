import { keyOf } from "../../objects/key.ts";
import type { KubeObject } from "../../objects/object.ts";
import { ownsField } from "../ownership/owners.ts";
import { isJson, type Json, listAt } from "../pointer.ts";
import { holdPublication } from "./networking.ts";
import { dropAnnotations, specOf, type KindRule, type Scope } from "./rule.ts";

/** Services: addresses and ports that the source's API server chose are dropped, those a person asked for are kept. */
export const service: KindRule = {
  prepare(object, scope) {
    const spec = specOf(object);
    if (spec["clusterIP"] !== "None") {
      delete spec["clusterIP"];
      delete spec["clusterIPs"];
    }
    for (const field of ["ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"]) {
      if (!ownsField(scope.managers, ["spec", field])) delete spec[field];
    }
    for (const port of listAt(spec, "ports")) settleNodePort(port, object, scope);
    dropAnnotations(object, assignedByLoadBalancer);
    return undefined;
  },
  hold(object) {
    holdPublication(object);
    return undefined;
  },
};

/** Written by load balancer controllers for the address that they gave. */
const assignedByLoadBalancer = ["metallb.universe.tf/ip-allocated-from-pool", "metallb.io/ip-allocated-from-pool"];

/**
 * An assigned node port is not in managedFields: the API server assigns after it has worked out who owns what. So a
 * port that a manager owns is one that a manifest asks for.
 */
function settleNodePort(port: Json, object: KubeObject, scope: Scope): void {
  const number = port["nodePort"];
  if (typeof number !== "number") return;
  const protocol = typeof port["protocol"] === "string" ? port["protocol"] : "TCP";
  const entry = { port: port["port"], protocol };
  if (!ownsField(scope.managers, ["spec", "ports", entry, "nodePort"])) {
    delete port["nodePort"];
    return;
  }
  const holder = scope.facts.nodePorts?.get(`${protocol}/${number}`);
  if (holder === undefined || holder === keyOf(object)) return;
  delete port["nodePort"];
  scope.waitFor(holder);
  scope.find("NodePortTaken", `node port ${number}/${protocol} is in use by ${holder}; another is assigned`);
}

/** Hand-written Endpoints and EndpointSlices; those of a controller never reach render. */
export const endpoints: KindRule = {
  prepare(object) {
    dropAnnotations(object, ["endpoints.kubernetes.io/last-change-trigger-time"]);
    for (const subset of listAt(object, "subsets")) {
      for (const list of ["addresses", "notReadyAddresses"]) listAt(subset, list).forEach(dropTarget);
    }
    listAt(object, "endpoints").forEach(dropTarget);
    return undefined;
  },
};

/** The pod behind an address, by UID, exists only at the source. */
function dropTarget(address: Json): void {
  if (isJson(address["targetRef"])) delete address["targetRef"];
  delete address["nodeName"];
}
