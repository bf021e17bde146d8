import { LifeboatError, messageOf } from "../errors.ts";

/** What the API server said of a failed request: the `cause` of the {@link LifeboatError} that reports it. */
export interface KubeStatus {
  /** HTTP status code. */
  readonly code: number;
  /** The API server's machine-readable reason (`Conflict`, `AlreadyExists`, `Invalid`, `Expired`, …) or `""`. */
  readonly reason: string;
  readonly message: string;
  /** Field errors and the like, as the API server sent them. */
  readonly causes: readonly KubeStatusCause[];
  readonly retryAfterSeconds: number | undefined;
}

export interface KubeStatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** The API server's answer behind an error, or `undefined` where the error is of another origin. */
export function kubeStatusOf(error: unknown): KubeStatus | undefined {
  const cause = error instanceof LifeboatError ? error.cause : undefined;
  return typeof cause === "object" && cause !== null && "reason" in cause && "causes" in cause
    ? (cause as KubeStatus)
    : undefined;
}

/** `true` where the API server answered with this reason. */
export function hasReason(error: unknown, reason: string): boolean {
  return kubeStatusOf(error)?.reason === reason;
}

/** `true` where fields belong to other managers: the reason is the same as for an object that has changed meanwhile. */
export function isOwnersConflict(error: unknown): boolean {
  return kubeStatusOf(error)?.causes.some((cause) => cause.reason === "FieldManagerConflict") ?? false;
}

/** Reads a `Status` object; any other body (a proxy's page, plain text) becomes a status with that text. */
export function parseStatus(code: number, body: string, retryAfter?: string): KubeStatus {
  const seconds = retryAfter === undefined ? Number.NaN : Number(retryAfter);
  const fallback: KubeStatus = {
    code,
    reason: "",
    message: body.slice(0, 500).trim() || `HTTP status ${code}`,
    causes: [],
    retryAfterSeconds: Number.isFinite(seconds) ? seconds : undefined,
  };
  try {
    const status = JSON.parse(body) as {
      kind?: unknown;
      reason?: unknown;
      message?: unknown;
      details?: { causes?: KubeStatusCause[]; retryAfterSeconds?: number };
    } | null;
    if (status?.kind !== "Status") return fallback;
    return {
      code,
      reason: typeof status.reason === "string" ? status.reason : "",
      message: typeof status.message === "string" ? status.message : fallback.message,
      causes: status.details?.causes ?? [],
      retryAfterSeconds: fallback.retryAfterSeconds ?? status.details?.retryAfterSeconds,
    };
  } catch {
    return fallback;
  }
}

/** RBAC says `User "x" cannot list resource "y"`; quotas and admission use the same code 403 for other things. */
const missingPermission = / cannot \S+ (resource|path) /;

/** The server is alive but could not answer now; the same request may succeed later. */
const retryableCodes: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/** A server-side apply of fields that the schema does not have fails with code 500 and no reason. */
const notTyped = /failed to create typed patch object|field not declared in schema/;

export function errorOfStatus(op: string, status: KubeStatus): LifeboatError {
  if (status.code === 401) {
    return new LifeboatError("KubeconfigInvalid", `the API server does not accept the credentials: ${status.message}`, {
      op,
      cause: status,
      hint: "log in again or renew the token or client certificate of this kubeconfig",
    });
  }
  if (status.code === 403 && missingPermission.test(status.message)) {
    return new LifeboatError("KubeForbidden", status.message, {
      op,
      cause: status,
      hint: "`lifeboat check` prints the missing permissions",
    });
  }
  if (status.code === 404) return new LifeboatError("NotFound", status.message, { op, cause: status });
  return new LifeboatError("KubeRejected", status.message, {
    op,
    cause: status,
    retryable: retryableCodes.has(status.code) && !notTyped.test(status.message),
  });
}

/** TLS failures that no retry mends: the kubeconfig and the server do not belong together. */
const certificateErrors: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the API server's certificate has expired; renew it, or check this machine's clock",
  CERT_NOT_YET_VALID: "the API server's certificate is not valid yet; check this machine's clock",
  DEPTH_ZERO_SELF_SIGNED_CERT: "certificate-authority in the kubeconfig is not the one that signed the server",
  SELF_SIGNED_CERT_IN_CHAIN: "certificate-authority in the kubeconfig is not the one that signed the server",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "certificate-authority in the kubeconfig is not the one that signed the server",
  UNABLE_TO_GET_ISSUER_CERT: "certificate-authority in the kubeconfig is not the one that signed the server",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "certificate-authority in the kubeconfig is not the one that signed the server",
  CERT_SIGNATURE_FAILURE: "certificate-authority in the kubeconfig is not the one that signed the server",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "the server's certificate is for another name; set tls-server-name or the right address",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: "the API server does not know the authority of the client certificate",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "the API server wants a client certificate",
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: "client-certificate and client-key in the kubeconfig do not belong together",
};

/** Turns what the transport threw (or the abort of `signal`) into an error of ours. */
export function errorOfTransport(op: string, server: string, error: unknown): LifeboatError {
  if (error instanceof LifeboatError) return error;
  const code = codeOf(error);
  const hint = certificateErrors[code];
  if (hint !== undefined) {
    return new LifeboatError("KubeconfigInvalid", `no trusted connection to ${server}: ${messageOf(error)}`, {
      op,
      hint,
      cause: error,
    });
  }
  return new LifeboatError("KubeUnreachable", `no answer from ${server}: ${messageOf(error) || code}`, {
    op,
    retryable: true,
    hint: "check the address, the network and that the API server runs",
    cause: error,
  });
}

function codeOf(error: unknown): string {
  let current = error;
  for (let depth = 0; depth < 4 && current instanceof Error; depth++) {
    const code = (current as { code?: unknown }).code;
    if (typeof code === "string" && code in certificateErrors) return code;
    current = current.cause;
  }
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
