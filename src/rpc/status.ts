import { Metadata, status, type ServiceError, type StatusObject } from "@grpc/grpc-js";
import { errorCodes, LifeboatError, messageOf, type ErrorCode } from "../errors.ts";

/**
 * Errors across the wire: a LifeboatError travels as a gRPC status with its code and hint in the trailers, and is
 * the same error at the other end.
 */

const codeHeader = "lifeboat-code";
const hintHeader = "lifeboat-hint-bin";
const retryableHeader = "lifeboat-retryable";

const statusOfCode: Partial<Record<ErrorCode, status>> = {
  PeerVersion: status.FAILED_PRECONDITION,
  PeerCertificate: status.PERMISSION_DENIED,
  FailoverRefused: status.FAILED_PRECONDITION,
  NotFound: status.NOT_FOUND,
  Timeout: status.DEADLINE_EXCEEDED,
  ConfigInvalid: status.INVALID_ARGUMENT,
};

/** The status with which a server ends a call that failed with `error`. */
export function toStatus(error: unknown): Partial<StatusObject> {
  const metadata = new Metadata();
  // What is not a LifeboatError may hold anything in its message: it stays here, in the log.
  if (!(error instanceof LifeboatError)) {
    metadata.set(codeHeader, "Internal" satisfies ErrorCode);
    return { code: status.INTERNAL, details: "internal error; see the peer's log", metadata };
  }
  metadata.set(codeHeader, error.code);
  if (error.retryable) metadata.set(retryableHeader, "1");
  if (error.hint !== undefined) metadata.set(hintHeader, Buffer.from(error.hint));
  return { code: statusOfCode[error.code] ?? status.UNAVAILABLE, details: error.message, metadata };
}

/** The error that a client throws for a call that failed. `unreachable` is the code where the peer did not answer. */
export function fromStatus(
  error: unknown,
  { op, unreachable = "PeerUnreachable" }: { op: string; unreachable?: ErrorCode },
): LifeboatError {
  if (error instanceof LifeboatError) return error;
  if (!isServiceError(error)) return new LifeboatError("Internal", messageOf(error), { op, cause: error });
  const code = String(error.metadata.get(codeHeader)[0] ?? "");
  const details = error.details === "" ? `gRPC status ${error.code}` : error.details;
  if (Object.hasOwn(errorCodes, code)) {
    const hint = error.metadata.get(hintHeader)[0];
    return new LifeboatError(code as ErrorCode, details, {
      op,
      retryable: error.metadata.get(retryableHeader).length > 0,
      ...(hint === undefined ? {} : { hint: String(hint) }),
    });
  }
  if (isCertificateProblem(details)) {
    return new LifeboatError("PeerCertificate", details, {
      op,
      retryable: true,
      hint: "both ends need certificates of the pair's authority; `lifeboat check` shows which end refuses",
      cause: error,
    });
  }
  return new LifeboatError(unreachable, plainly(details), { op, retryable: true, cause: error });
}

/** grpc-js tells where each part of a call's time went; people want to know that there was no answer. */
function plainly(details: string): string {
  const after = /^Deadline exceeded(?: after ([\d.]+)s)?/.exec(details);
  if (after === null) return details;
  return after[1] === undefined ? "no answer in time" : `no answer within ${Math.round(Number(after[1]) * 10) / 10} s`;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error && error.metadata instanceof Metadata;
}

/** What Node and OpenSSL say when either end refuses a certificate; grpc-js passes it on as text only. */
const certificateProblems = [
  "certificate",
  "UNABLE_TO_",
  "DEPTH_ZERO",
  "SELF_SIGNED",
  "CERT_",
  "tlsv1 alert",
  "tlsv13 alert",
  "tls alert",
  "tls/ssl alert",
  "ssl/tls alert",
];

function isCertificateProblem(details: string): boolean {
  return certificateProblems.some((text) => details.includes(text));
}
