import type { GroupSpec } from "../config/group.ts";
import type { EpochText } from "../objects/epoch.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KubeObject, ManagedFieldsEntry } from "../objects/object.ts";
import type { LabelIndex } from "./mutations/label-index.ts";

/** The words that the rooms around `render` share. Nothing here does I/O or reads a clock. */

export type Role = "standby" | "active";

/** An object of the group as the journal has it: the source's normalised object and its field owners. */
export interface SourceRecord {
  /** Key at the source. */
  readonly key: ObjectKey;
  /** Parsed text of the normalised object. Never changed by render. */
  readonly object: KubeObject;
  /** The source's managedFields without times and status entries. */
  readonly managers: readonly ManagedFieldsEntry[];
}

/**
 * What was observed and matters to rendering. Keys are keys at the target unless said otherwise. An absent fact means
 * "nothing known", which renders the careful way: owner references without a known UID are left out, webhooks wait.
 * Sets and maps are not to be changed once handed over: a new observation is a new set.
 */
export interface Facts {
  /** Namespaces of the group as named at the source, selectors followed. @default spec.select.namespaces.names */
  readonly namespaces?: ReadonlySet<string>;
  /** UIDs of objects at the target, for owner references. */
  readonly uids?: ReadonlyMap<ObjectKey, string>;
  /** Node ports in use at the target, `TCP/30080`, and the Service that has each. */
  readonly nodePorts?: ReadonlyMap<string, ObjectKey>;
  /** Services at the target with at least one ready endpoint. */
  readonly readyServices?: ReadonlySet<ObjectKey>;
  /** Versions that the target serves per `group/Kind` (see kindName). A kind that is absent here is not checked. */
  readonly versions?: ReadonlyMap<string, readonly string[]>;
  /** `status.storedVersions` of the CustomResourceDefinitions at the target. */
  readonly storedVersions?: ReadonlyMap<ObjectKey, readonly string[]>;
  /** Present subjects of ClusterRoleBindings at the target: those of others are kept. */
  readonly subjects?: ReadonlyMap<ObjectKey, readonly Record<string, unknown>[]>;
  /** Sizes (`spec.resources.requests.storage`) of PersistentVolumeClaims at the target. */
  readonly claimSizes?: ReadonlyMap<ObjectKey, string>;
  /** Groups other than this one that need a shared cluster-scoped object at the target. */
  readonly sharedWith?: ReadonlyMap<ObjectKey, readonly string[]>;
  /** Kinds (`group/Kind`) of custom resources that run pods at the source, by themselves or through what they own. */
  readonly podOwners?: ReadonlySet<string>;
  /** Selectors and pod labels of the whole group at the source; needed when a mutation changes labels. */
  readonly labels?: LabelIndex;
}

export interface RenderContext {
  readonly spec: GroupSpec;
  /** Name of the group. */
  readonly group: string;
  /** Site that is rendered for. */
  readonly site: string;
  /** Site that the record comes from. */
  readonly source: string;
  readonly role: Role;
  /** Epoch under which the result is written. */
  readonly epoch: EpochText;
  readonly facts: Facts;
  /** Replicas of what runs at both sites, in percent of its usual ones, while this site carries both loads. @default 100 */
  readonly surgePercent?: number | undefined;
  /** Namespaces of the site that belong to other groups, with their names. @default none */
  readonly taken?: ReadonlyMap<string, string>;
}

/** Codes of findings: something a person should know about one object. The list is closed so that docs can show it. */
export const findingCodes = {
  MayRunOnStandby: "A custom resource owns pods and no standby profile says how to keep it from running.",
  PodsLeft: "A pod of the group runs at a site that must not run the group; the message says why it may.",
  MutationRefused: "A mutation was not made because it would break something; the message says what.",
  NamespaceNamed: "A mapped namespace is named in text that only the application reads, which is not rewritten.",
  NodePortTaken: "A node port that the manifest asks for is in use at the site; the site assigns another.",
  OwnerMissing: "An owner does not exist at the site; the reference to it is left out until it does.",
  VersionNotServed: "The site does not serve the version of the kind; the object cannot be applied.",
  StoredVersionLost: "A CustomResourceDefinition would drop a version in which the site has objects stored.",
  ConversionNeedsService: "The kind is converted by a webhook whose Service has no endpoints at the site.",
  DataSourceDropped: "A volume was made from a snapshot or another volume, which the site does not have.",
  LocalVolume: "A volume is tied to a node of the source site.",
  UndoSkipped: "A value that a mutation had set was changed since; it is kept and not set back.",
  SurgeIgnored: "What a workload's annotation says of its surge is no percentage that it may have; its group's counts.",
  HeldTooLarge: "What is held back does not fit into an annotation; promotion needs the journal.",
} as const;

export type FindingCode = keyof typeof findingCodes;

export interface Finding {
  readonly code: FindingCode;
  /** Key at the source. */
  readonly key: ObjectKey;
  /** A sentence for people, without values of Secrets. */
  readonly message: string;
}

/** Why nothing is applied for a record now. */
export type WithheldReason =
  /** spec.standby is PilotLight: the journal is all there is. */
  | "PilotLight"
  /** Its namespace at this site belongs to another group. */
  | "NamespaceTaken"
  /** Pods, and kinds whose profile says so: created at promotion. */
  | "StandbyRole"
  /** Webhooks and APIServices: would break the site's API until their Service has endpoints. */
  | "ServiceNotReady"
  /** The site has its own: generated objects, provisioned volumes, mapped classes. */
  | "SiteHasItsOwn"
  /** Applying would destroy or cannot work; a finding says why. */
  | "Refused";

export interface Rendered {
  /** Objects to apply at the site, at present none or one. */
  readonly objects: readonly KubeObject[];
  /** Why `objects` is empty; such a copy, where one exists already, is removed only for StandbyRole. */
  readonly withheld?: { readonly reason: WithheldReason; readonly message: string };
  readonly findings: readonly Finding[];
  /** Keys at the target whose appearance (or endpoints) would change this result: render again when they change. */
  readonly waitsFor: readonly ObjectKey[];
}
