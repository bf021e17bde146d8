import { expect, test } from "vitest";
import { classify, failureReasons } from "../../../src/apply/failures.ts";
import { LifeboatError } from "../../../src/errors.ts";
import { errorOfStatus, type KubeStatusCause } from "../../../src/kube/status.ts";

const place = { group: "apps", kind: "Deployment", namespace: "shop" };

function answer(code: number, reason: string, message: string, causes: KubeStatusCause[] = []): LifeboatError {
  return errorOfStatus("test", { code, reason, message, causes, retryAfterSeconds: undefined });
}

// Messages as API servers 1.33 to 1.36 write them.
test.each([
  [answer(404, "NotFound", 'namespaces "shop" not found'), "NamespaceMissing"],
  [answer(404, "NotFound", "the server could not find the requested resource"), "KindMissing"],
  [
    answer(
      403,
      "Forbidden",
      "x is forbidden: unable to create new content in namespace shop because it is being terminated",
      [{ reason: "NamespaceTerminating" }],
    ),
    "NamespaceTerminating",
  ],
  [
    answer(403, "Forbidden", 'secrets "s" is forbidden: exceeded quota: small, requested: count/secrets=1'),
    "QuotaExceeded",
  ],
  [
    answer(403, "Forbidden", 'secrets is forbidden: User "x" cannot create resource "secrets" in API group ""'),
    "Forbidden",
  ],
  [answer(400, "BadRequest", 'admission webhook "v.example" denied the request: no'), "WebhookRefused"],
  [
    answer(422, "Invalid", "x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
    "WebhookRefused",
  ],
  [
    answer(500, "InternalError", 'Internal error occurred: failed calling webhook "v.example": connection refused'),
    "WebhookFailed",
  ],
  [
    answer(
      500,
      "",
      "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared in schema",
    ),
    "NotAppliable",
  ],
  [
    answer(422, "Invalid", 'Deployment.apps "web" is invalid: spec.selector: Invalid value: {}: field is immutable'),
    "Immutable",
  ],
  [
    answer(
      422,
      "Invalid",
      "StatefulSet.apps is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas'",
    ),
    "Immutable",
  ],
  [answer(422, "Invalid", "web is invalid: metadata.uid: field is immutable", [{ field: "metadata.uid" }]), "Replaced"],
  [
    answer(409, "Conflict", "uid mismatch: the provided object specified uid x, and no existing object was found"),
    "Replaced",
  ],
  [answer(409, "AlreadyExists", 'deployments.apps "web" already exists'), "Exists"],
  [
    answer(422, "Invalid", "Service is invalid: spec.ports[0].nodePort: provided port is already allocated"),
    "NodePortTaken",
  ],
  [answer(413, "RequestEntityTooLarge", "limit is 3145728"), "TooLarge"],
  [answer(422, "Invalid", "web is invalid: spec.replicas: must be positive"), "Invalid"],
  [answer(503, "ServiceUnavailable", "try later"), "Refused"],
  [new LifeboatError("KubeUnreachable", "connect ECONNREFUSED"), "ApiUnreachable"],
  [new TypeError("x is not a function"), "Defect"],
])("%s is %s", (error, reason) => {
  expect(classify(error, place).reason).toBe(reason);
});

test("what would mend a failure is named where it is an object or a kind", () => {
  expect(classify(answer(404, "NotFound", 'namespaces "shop" not found'), place).need).toBe("/Namespace//shop");
  expect(classify(answer(404, "NotFound", "the server could not find it"), place).need).toBe("kind:apps/Deployment");
});

test("every reason has a line for people", () => {
  for (const line of Object.values(failureReasons)) expect(line).toMatch(/^[A-Z].*\.$/);
});
