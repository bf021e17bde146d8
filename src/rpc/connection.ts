import {
  Client,
  connectivityState,
  credentials as channelCredentials,
  Metadata,
  status,
  type ChannelCredentials,
  type ChannelOptions,
  type ServiceError,
} from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { onAbort } from "../abort.ts";
import { LifeboatError, type ErrorCode } from "../errors.ts";
import type { Certificates } from "./certificates.ts";
import { checkIdentity, identityOf, type PeerExpectation, type PeerIdentity } from "./identity.ts";
import {
  connectTimeoutMs,
  flowControlWindowBytes,
  keepaliveTimeMs,
  keepaliveTimeoutMs,
  messageBytesMax,
  protocolHeader,
  protocolVersion,
} from "./limits.ts";
import { fromStatus } from "./status.ts";

export interface ConnectOptions {
  /** `host:port` */
  readonly address: string;
  readonly certificates: Certificates;
  /** What the peer's certificate must say. */
  readonly expect: PeerExpectation;
  /** Code of the error when nothing answers. @default "PeerUnreachable" */
  readonly unreachable?: ErrorCode;
}

/** One TLS connection to an authenticated peer, shared by all calls to it. */
export interface Connection {
  readonly client: Client;
  readonly peer: PeerIdentity;
  readonly unreachable: ErrorCode;
  /** Resolves when the connection is lost, or the peer asked to leave it (GOAWAY). */
  whenDown(options: { signal: AbortSignal }): Promise<void>;
  /** Lets the calls in flight end and closes. */
  close(): void;
}

/**
 * Connects once: TCP, TLS, both certificates, first answer of the peer's health service. Rejects with
 * PeerCertificate, or `unreachable` when that does not come about within {@link connectTimeoutMs}. A fresh channel
 * for each attempt, since a channel of grpc-js would wait for the operating system's own TCP timeouts.
 */
export async function connect(options: ConnectOptions, { signal }: { signal: AbortSignal }): Promise<Connection> {
  signal.throwIfAborted();
  const { unreachable = "PeerUnreachable" } = options;
  const seen: { identity?: PeerIdentity; problem?: unknown } = {};
  const client = new Client(options.address, secureCredentials(options, seen), channelOptions);
  using _abort = onAbort(signal, () => client.close());
  try {
    await callHealth(client);
  } catch (error) {
    client.close();
    signal.throwIfAborted();
    if (seen.problem !== undefined) throw seen.problem;
    const failure = fromStatus(error, { op: `rpc.connect ${options.address}`, unreachable });
    throw seen.identity !== undefined && isStatus(error, status.UNAVAILABLE) ? refusedByPeer(failure) : failure;
  }
  signal.throwIfAborted();
  const { identity } = seen;
  if (identity === undefined) throw new LifeboatError("Internal", "connected without a certificate");
  return { client, peer: identity, unreachable, whenDown: (o) => whenDown(client, o), close: () => client.close() };
}

/**
 * Node's TLS servers look at the client's certificate when the client believes the handshake done, and hang up
 * without a word when they do not trust it.
 */
function refusedByPeer(cause: LifeboatError): LifeboatError {
  return new LifeboatError(
    "PeerCertificate",
    `the peer proved who it is and then hung up, as it does when it does not trust our certificate: ${cause.message}`,
    {
      ...(cause.op === undefined ? {} : { op: cause.op }),
      retryable: true,
      hint: "check that the peer's bundle of authorities holds the one that signed our certificate, and its expiry",
      cause,
    },
  );
}

function isStatus(error: unknown, code: status): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** Headers of every call. */
export function callMetadata(version: number = protocolVersion): Metadata {
  const metadata = new Metadata();
  metadata.set(protocolHeader, String(version));
  return metadata;
}

const channelOptions: ChannelOptions = {
  "grpc.max_receive_message_length": messageBytesMax,
  "grpc.max_send_message_length": messageBytesMax,
  "grpc.keepalive_time_ms": keepaliveTimeMs,
  "grpc.keepalive_timeout_ms": keepaliveTimeoutMs,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc-node.flow_control_window": flowControlWindowBytes,
  // Streams resume by themselves; a retry buffer would only keep a copy of what was sent.
  "grpc.enable_retries": 0,
  // A connection of its own, so that closing it closes it.
  "grpc.use_local_subchannel_pool": 1,
  // Names in certificates are identities, not hosts; TLS wants some name, and forbids an IP address.
  "grpc.ssl_target_name_override": "lifeboat",
  // Never idle: 2^31 - 1 ms is the longest timer.
  "grpc.client_idle_timeout_ms": 2_147_483_647,
};

function secureCredentials(
  { certificates, expect }: ConnectOptions,
  seen: { identity?: PeerIdentity; problem?: unknown },
): ChannelCredentials {
  const { ca, key, cert } = certificates.material;
  return channelCredentials.createSsl(ca, key, cert, {
    checkServerIdentity: (_host, certificate) => {
      try {
        const identity = identityOf(certificate.subjectaltname);
        checkIdentity(identity, expect);
        seen.identity = identity;
        return undefined;
      } catch (error) {
        seen.problem = error;
        return error instanceof Error ? error : new Error("certificate refused");
      }
    },
  });
}

async function callHealth(client: Client): Promise<void> {
  const check = healthService["Check"];
  if (check === undefined) throw new Error("grpc-health-check has no Check");
  const answer = Promise.withResolvers<void>();
  client.makeUnaryRequest(
    check.path,
    (request: object) => check.requestSerialize(request),
    (bytes: Buffer) => check.responseDeserialize(bytes),
    { service: "" },
    callMetadata(),
    { deadline: Date.now() + connectTimeoutMs },
    (error: ServiceError | null) => (error === null ? answer.resolve() : answer.reject(error)),
  );
  await answer.promise;
}

async function whenDown(client: Client, { signal }: { signal: AbortSignal }): Promise<void> {
  const channel = client.getChannel();
  const down = Promise.withResolvers<void>();
  using _abort = onAbort(signal, down.reject);
  if (channel.getConnectivityState(false) !== connectivityState.READY) return;
  channel.watchConnectivityState(connectivityState.READY, Number.POSITIVE_INFINITY, () => down.resolve());
  await down.promise;
}
