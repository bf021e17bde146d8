import * as z from "zod";
import type { KubeObject } from "../objects/object.ts";
import { groupApi, groupSpecSchema } from "./group.ts";
import { groupStatusSchema } from "./status.ts";

/**
 * The CustomResourceDefinition of ProtectionGroup, made from the schema that the agent validates with.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */

/** A node of a structural schema. */
export interface StructuralSchema {
  type?: string;
  description?: string;
  properties?: Record<string, StructuralSchema>;
  items?: StructuralSchema;
  additionalProperties?: StructuralSchema;
  required?: string[];
  default?: unknown;
  enum?: unknown[];
  [field: string]: unknown;
}

export function protectionGroupCrd(): KubeObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${groupApi.plural}.${groupApi.group}`,
      labels: { "app.kubernetes.io/name": "lifeboat", "app.kubernetes.io/part-of": "lifeboat" },
    },
    spec: {
      group: groupApi.group,
      scope: "Cluster",
      names: {
        kind: groupApi.kind,
        listKind: `${groupApi.kind}List`,
        plural: groupApi.plural,
        singular: groupApi.singular,
        shortNames: [groupApi.shortName],
        categories: ["lifeboat"],
      },
      versions: [
        {
          name: groupApi.version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: groupSchema() },
          subresources: { status: {} },
          additionalPrinterColumns: printerColumns,
        },
      ],
    },
  };
}

const printerColumns = [
  { name: "Role", type: "string", jsonPath: ".status.role", description: "Role of this site for the group." },
  { name: "Active", type: "string", jsonPath: ".status.active", description: "Site that runs the group." },
  { name: "Mode", type: "string", jsonPath: ".spec.mode", description: "Whether one site runs the group or both." },
  { name: "Lag", type: "string", jsonPath: ".status.lag.summary", description: "How far the standby is behind." },
  {
    name: "Ready",
    type: "string",
    jsonPath: '.status.conditions[?(@.type=="Ready")].status',
    description: "Whether the standby could take over.",
  },
  { name: "State", type: "string", jsonPath: ".status.state", priority: 1, description: "State at this site." },
  { name: "Epoch", type: "string", jsonPath: ".status.epoch", priority: 1, description: "Epoch of the active site." },
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
];

/** Schema of the whole object, as `kubectl explain` shows it. */
export function groupSchema(): StructuralSchema {
  return {
    type: "object",
    description:
      "A protection group: what is protected together, fails over together, and between which two sites. Create it " +
      "once, at the site where the application runs; the other site shows a mirror that is not to be edited.",
    required: ["spec"],
    properties: { spec: structural(groupSpecSchema), status: structural(groupStatusSchema) },
  };
}

/** A schema as Kubernetes writes it down. */
export function structural(schema: z.ZodType): StructuralSchema {
  // What people write, not what parsing returns: fields with a default are optional.
  return convert(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as StructuralSchema);
}

/** Fields of JSON Schema that a structural schema does not know. */
const unknownToKubernetes = ["$schema", "propertyNames", "additionalProperties"];

function convert(node: StructuralSchema): StructuralSchema {
  const result: StructuralSchema = { ...node };
  for (const field of unknownToKubernetes) delete result[field];
  if (node.properties !== undefined) {
    result.properties = Object.fromEntries(
      Object.entries(node.properties).map(([name, property]) => [name, convert(property)]),
    );
  }
  if (node.items !== undefined) result.items = convert(node.items);
  const values = node.additionalProperties as StructuralSchema | boolean | undefined;
  if (typeof values === "object") {
    // An empty schema is how a loose object says that it keeps what it does not know.
    if (Object.keys(values).length === 0) result["x-kubernetes-preserve-unknown-fields"] = true;
    else result.additionalProperties = convert(values);
  }
  if (node.type === undefined) Object.assign(result, { "x-kubernetes-preserve-unknown-fields": true, nullable: true });
  return settleNumber(result);
}

/** Whole numbers get a format; the bounds of what JavaScript can count to say nothing. */
function settleNumber(node: StructuralSchema): StructuralSchema {
  if (node.type !== "integer") return node;
  if (node["maximum"] === Number.MAX_SAFE_INTEGER) delete node["maximum"];
  if (node["minimum"] === Number.MIN_SAFE_INTEGER) delete node["minimum"];
  return { ...node, format: typeof node["maximum"] === "number" ? "int32" : "int64" };
}
