import * as z from "zod";
import { durationPattern } from "./duration.ts";

/**
 * The building blocks of the spec. Every field has a description (it becomes `kubectl explain`) and every text and
 * list a bound: the API server refuses validation rules over unbounded lists, and a bound is a promise to operators.
 */

/** Longest list of names, kinds, mappings or mutations in one spec. */
export const listMaxCount = 256;
/** A DNS label is the longest name of a namespace; names of other objects are DNS subdomains of at most 253. */
const labelMaxLength = 63;
const nameMaxLength = 253;
/** `prefix/name` of a label: a subdomain, a slash and a label. */
const labelKeyMaxLength = nameMaxLength + 1 + labelMaxLength;
/** A kind as `group/Kind`, or a pattern for some. */
const kindMaxLength = 317;

/** In the protocol's messages, logs and metrics this name stands for the witness. */
export const witnessName = "witness";
export const siteNamePattern = "^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$";
const labelKeyPattern =
  "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
const labelValuePattern = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
const kindPattern = "^([-a-z0-9.*]+/)?([A-Z][A-Za-z0-9]*\\*?|\\*)$";
const namespacePattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const globPattern = "^[-a-z0-9.:*]+$";
export const pointerPattern = "^(/([^/~]|~[01])*)+$";

const named = (pattern: string, maxLength: number, message: string) =>
  z.string().max(maxLength).regex(new RegExp(pattern), { error: message });

export const siteName = (description: string) =>
  named(siteNamePattern, 32, "must be a short lower-case name, such as east")
    .refine((name) => name !== witnessName, { error: `must not be ${witnessName}, which is no site` })
    .describe(description);

export const duration = (description: string) =>
  named(durationPattern, 32, "must be a duration, such as 500ms, 5s or 1m30s").describe(description);

export const namespaceName = (description: string) =>
  named(namespacePattern, labelMaxLength, "must be the name of a namespace").describe(description);

export const nameGlob = (description: string) =>
  named(globPattern, nameMaxLength, "must be a name; * stands for any characters").describe(description);

export const kindGlob = (description: string) =>
  named(
    kindPattern,
    kindMaxLength,
    "must be a kind, such as apps/Deployment, ConfigMap for a core kind, or apps/* for all of a group",
  ).describe(description);

export const pointer = (description: string) =>
  named(pointerPattern, 512, "must be a JSON pointer, such as /data/region (~1 stands for / inside a name)").describe(
    description,
  );

export const labelKey = (description: string) =>
  named(labelKeyPattern, labelKeyMaxLength, "must be a label name").describe(description);

const labelValue = (description: string) =>
  named(labelValuePattern, labelMaxLength, "must be a label value: letters, digits, - _ and . up to 63").describe(
    description,
  );

/** A map of label names to label values. The API server checks the names itself when the object is applied. */
export const labelMap = (description: string) =>
  z.record(z.string(), labelValue("Value of the label.")).describe(description);

export const selectorOperator = z
  .enum(["In", "NotIn", "Exists", "DoesNotExist"])
  .describe("How the label's value relates to values.");

/** A Kubernetes label selector. */
export const labelSelector = (description: string) =>
  z
    .strictObject({
      matchLabels: labelMap("Labels that must all be there with these values.").optional(),
      matchExpressions: z
        .array(
          z
            .strictObject({
              key: labelKey("Name of the label."),
              operator: selectorOperator,
              values: z
                .array(labelValue("A value."))
                .max(listMaxCount)
                .describe("Values for In and NotIn; absent for Exists and DoesNotExist.")
                .optional(),
            })
            .describe("One requirement on a label."),
        )
        .max(listMaxCount)
        .describe("Further requirements, all of which must hold.")
        .optional(),
    })
    .describe(description);

export type LabelSelector = z.output<ReturnType<typeof labelSelector>>;

/** Which objects something is about: all stated conditions must hold, an absent one holds for every object. */
export const objectMatch = (description: string) =>
  z
    .strictObject({
      kinds: z
        .array(kindGlob("group/Kind, Kind for a core kind; * stands for any."))
        .max(listMaxCount)
        .describe("Kinds, any of which matches.")
        .optional(),
      names: z
        .array(nameGlob("A name, * stands for any characters."))
        .max(listMaxCount)
        .describe("Names, any of which matches.")
        .optional(),
      namespaces: z
        .array(nameGlob("A namespace as it is named on the first site, * stands for any characters."))
        .max(listMaxCount)
        .describe("Namespaces, any of which matches.")
        .optional(),
      selector: labelSelector("Labels that the object has at the active site.").optional(),
    })
    .describe(description);

export type ObjectMatch = z.output<ReturnType<typeof objectMatch>>;

/** A value given per site, `{east: …, west: …}`. */
export const perSite = (description: string, value: z.ZodString) => z.record(z.string(), value).describe(description);
