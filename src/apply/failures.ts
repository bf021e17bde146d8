import { hasCode, messageOf } from "../errors.ts";
import { kubeStatusOf, type KubeStatus } from "../kube/status.ts";

/**
 * Why an object is not at the standby, in one word for machines. The list is closed; each word has a line for people.
 */
export const failureReasons = {
  ApiUnreachable: "The standby's API server does not answer.",
  NamespaceMissing: "The namespace does not exist on the standby.",
  NamespaceTerminating: "The namespace is being deleted on the standby.",
  KindMissing: "The standby does not serve the kind; its CustomResourceDefinition is missing or not established.",
  Terminating: "The object is being deleted on the standby and waits for its finalizers.",
  Exists: "An object of this name exists on the standby that no group has put there.",
  Immutable: "A field that cannot be changed has changed, and the object must not be recreated.",
  Recreating: "The object is recreated because a field that cannot be changed has changed.",
  NotAppliable: "The object cannot be applied: a field is unknown to the kind or a list names an item twice.",
  Replaced: "The object on the standby was replaced by another of the same name.",
  QuotaExceeded: "A ResourceQuota on the standby does not leave room.",
  WebhookRefused: "An admission webhook or policy on the standby refused the object.",
  WebhookFailed: "An admission webhook on the standby did not answer.",
  NodePortTaken: "The node port is in use on the standby.",
  Forbidden: "Lifeboat has no permission for this on the standby.",
  Invalid: "The standby's API server does not accept the object.",
  TooLarge: "The object is larger than the standby's API server accepts.",
  Needed: "Something on the standby still needs the object, so it is not deleted yet.",
  Withheld: "Lifeboat keeps the object back at this site; the message says why.",
  Occupied: "The namespace holds objects that are not the group's; deleting it would delete them too.",
  DeletesPaused: "Deletes are paused until a person confirms them.",
  Refused: "The standby's API server refused the request.",
  Defect: "A defect in Lifeboat.",
} as const;

export type FailureReason = keyof typeof failureReasons;

export interface Failure {
  readonly reason: FailureReason;
  /** The API server's own words, or ours. Never a value of a Secret. */
  readonly message: string;
  /** Name of what would have to come, as passed to {@link needOf}, so that its arrival is the moment to try again. */
  readonly need?: string | undefined;
  /** Nothing will change within seconds: retried at the slow rate. */
  readonly slow?: boolean;
}

/** An object that is on its way out: nothing of its name can be made or changed until it is gone. */
export const terminating: Failure = {
  reason: "Terminating",
  message: "it is being deleted and waits for its finalizers",
};

/** Names of needs. An object's is its key at the standby. */
export const needOf = {
  namespace: (name: string): string => `/Namespace//${name}`,
  kind: (group: string, kind: string): string => `kind:${group}/${kind}`,
};

/** What a failed write of an object in `namespace` (`""` for none) of this kind means. */
export function classify(error: unknown, place: { group: string; kind: string; namespace: string }): Failure {
  const message = messageOf(error);
  if (hasCode(error, "KubeForbidden")) return { reason: "Forbidden", message, slow: true };
  if (hasCode(error, "KubeUnreachable") || hasCode(error, "Timeout") || hasCode(error, "KubeconfigInvalid")) {
    return { reason: "ApiUnreachable", message };
  }
  const status = kubeStatusOf(error);
  if (status === undefined) return { reason: "Defect", message, slow: true };
  return ofMissing(status, place) ?? ofAdmission(status, message) ?? ofValidation(status, message);
}

function ofMissing(status: KubeStatus, place: { group: string; kind: string; namespace: string }): Failure | undefined {
  const { code, message } = status;
  if (code === 404 && message.startsWith("namespaces ")) {
    return { reason: "NamespaceMissing", message, need: needOf.namespace(place.namespace) };
  }
  if (code === 404) return { reason: "KindMissing", message, need: needOf.kind(place.group, place.kind) };
  if (status.causes.some((cause) => cause.reason === "NamespaceTerminating") || /being terminated/.test(message)) {
    return { reason: "NamespaceTerminating", message, need: needOf.namespace(place.namespace) };
  }
  return undefined;
}

function ofAdmission(status: KubeStatus, message: string): Failure | undefined {
  if (/exceeded quota/.test(message)) return { reason: "QuotaExceeded", message };
  if (/failed calling webhook/.test(message)) return { reason: "WebhookFailed", message };
  if (/admission webhook .* denied|denied request|ValidatingAdmissionPolicy/.test(message)) {
    return { reason: "WebhookRefused", message };
  }
  if (status.code === 413 || /request is too large|etcdserver: request is too large/.test(message)) {
    return { reason: "TooLarge", message, slow: true };
  }
  return undefined;
}

/** Words in which built-in kinds say that a field cannot be changed. */
const immutableWords =
  /field is immutable|may not be changed|may not change|cannot be changed|is immutable|updates to \w+ spec for fields other than|Value is immutable/i;

function ofValidation(status: KubeStatus, message: string): Failure {
  if (/field not declared in schema|duplicate entries for key|failed to create typed patch/.test(message)) {
    return { reason: "NotAppliable", message };
  }
  if (status.causes.some((cause) => cause.field === "metadata.uid") || /uid mismatch|in precondition: /.test(message)) {
    return { reason: "Replaced", message };
  }
  if (status.reason === "AlreadyExists") return { reason: "Exists", message };
  if (status.code === 422 && /provided port is already allocated/.test(message)) {
    return { reason: "NodePortTaken", message };
  }
  if (status.code === 422 && immutableWords.test(message)) return { reason: "Immutable", message };
  if (status.code === 422 || status.code === 400) return { reason: "Invalid", message };
  return { reason: "Refused", message };
}
