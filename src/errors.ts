/**
 * The one error class of Lifeboat. It is thrown where something goes wrong and logged or printed once, at the
 * boundary (a runner, a command, an RPC handler).
 *
 * Codes are constants listed in {@link errorCodes}; `docs/errors.md` is generated from that table.
 */

/** Every error code with one line on what it means and what a person does about it. */
export const errorCodes = {
  ConfigInvalid: "A configuration value, flag or spec field is wrong. The message names it; nothing was changed.",
  KubeconfigInvalid: "The kubeconfig is missing, unreadable, or its certificate is not trusted or has expired.",
  KubeUnreachable: "The Kubernetes API server could not be reached. It is retried; check address and network.",
  KubeRejected: "The Kubernetes API server refused a request. The reason is the API server's own.",
  KubeForbidden: "Permission is missing for a kind. Grant it, or exclude the kind from the group.",
  SpecInvalid: "A ProtectionGroup is malformed. The last good spec stays in force.",
  JournalFull:
    "The disk of the journal is full, or the journal has reached its 4 GiB. Nothing acknowledged is lost; free space, or split the group, and it resumes.",
  JournalCorrupt: "The journal file is damaged. Move it away; the standby is synchronised again from its peer.",
  JournalVersion: "The journal was written by a newer version of Lifeboat. Upgrade this agent.",
  PeerVersion: "The peer speaks another protocol version. Upgrade the older of the two agents.",
  PeerCertificate: "The peer's certificate is not from the pair's authority, or names another site.",
  PeerUnreachable: "The peer agent could not be reached. It is retried for ever.",
  WitnessUnreachable: "The witness could not be reached. Replication goes on; automatic failover waits for it.",
  WitnessStoreFull:
    "The disk of the witness's store is full. The witness stops; the active sites go on by each other's lease.",
  WitnessStoreCorrupt:
    "The witness's store is damaged. Move it away and restart; it relearns everything from the sites.",
  WitnessStoreUnreachable:
    "The witness's store could not be reached. It is retried; the witness answers nobody meanwhile.",
  WitnessReplaced: "Another witness process took over the store. This one ends; the other one goes on.",
  FailoverRefused: "The failover was refused. The message names the rule and what to do.",
  ToolMissing: "A program that is needed is not installed. The hint is the line that installs it.",
  ProgramFailed: "A program that was started ended or did not become ready. The message ends with its last words.",
  NeedsRoot: "This needs root (network namespaces, cgroups). Run as root or choose the variant without.",
  NotFound: "The thing that was named does not exist.",
  Timeout: "It took longer than its limit.",
  Internal: "A defect in Lifeboat. Please report it with the log.",
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface ErrorDetails {
  /** What was being done, e.g. `journal.append`. */
  readonly op?: string;
  /** Whether the same call may succeed later without anybody changing anything. @default false */
  readonly retryable?: boolean;
  /** One line that tells a person what to do next. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class LifeboatError extends Error {
  readonly code: ErrorCode;
  readonly op: string | undefined;
  readonly retryable: boolean;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "LifeboatError";
    this.code = code;
    this.op = details.op;
    this.retryable = details.retryable ?? false;
    this.hint = details.hint;
  }
}

/** `true` for a LifeboatError with this code. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof LifeboatError && error.code === code;
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
