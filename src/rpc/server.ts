import {
  experimental,
  Server,
  type Metadata,
  type ServerDuplexStream,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { linkedAbort, onAbort, type LinkedAbort } from "../abort.ts";
import { hasCode, LifeboatError, messageOf } from "../errors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import type { Certificates } from "./certificates.ts";
import { DuplexChannel, type DuplexOptions } from "./duplex.ts";
import { checkIdentity, formatIdentity, identityOf, type PeerExpectation, type PeerIdentity } from "./identity.ts";
import {
  keepaliveTimeMs,
  keepaliveTimeoutMs,
  messageBytesMax,
  oldestProtocolVersion,
  protocolHeader,
  protocolVersion,
  streamsPerConnectionMax,
} from "./limits.ts";
import { toStatus } from "./status.ts";

export interface RpcServerOptions {
  /** `host:port`; port 0 takes a free one. `[::]:7400` listens everywhere. */
  readonly listen: string;
  readonly certificates: Certificates;
  readonly services: readonly RpcService[];
  readonly log: Log;
}

export interface RpcServer {
  readonly port: number;
  /** What the gRPC health service answers for the empty service name. @default serving */
  setServing(serving: boolean): void;
  /**
   * Stops listening, ends all streams with a retryable PeerUnreachable, and returns when connections are closed;
   * those that are not by then are cut after `deadlineMs`.
   */
  close(options: { deadlineMs: number }): Promise<void>;
}

/** One gRPC service with its handlers, made by `replicationService` and `exchangeService`. */
export interface RpcService {
  readonly definition: ServiceDefinition;
  readonly handlers: (context: ServeContext) => UntypedServiceImplementation;
}

/** What every handler needs of the server: authenticated peers, an end in good order, errors logged once. */
export interface ServeContext {
  readonly log: Log;
  /** Runs `handler` for a bidirectional call. */
  duplex<Out, In, WireOut, WireIn>(
    call: ServerDuplexStream<WireIn, WireOut>,
    options: Pick<DuplexOptions<Out, In, WireOut, WireIn>, "op" | "encode" | "decode"> & { expect: PeerExpectation },
    handler: (channel: DuplexChannel<Out, In, WireOut, WireIn>, options: { signal: AbortSignal }) => Promise<void>,
  ): void;
  /** Runs `handler` for a call with one request and a stream of responses; each is sent when the last was taken. */
  stream<Request, Response>(
    call: ServerWritableStream<Request, Response>,
    options: { op: string; expect: PeerExpectation },
    handler: (peer: PeerIdentity, options: { signal: AbortSignal }) => AsyncIterable<Response>,
  ): void;
}

/** Starts to listen. Rejects with ConfigInvalid when the address cannot be used. */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const server = new Server({
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_send_message_length": messageBytesMax,
    "grpc.max_concurrent_streams": streamsPerConnectionMax,
    "grpc.keepalive_time_ms": keepaliveTimeMs,
    "grpc.keepalive_timeout_ms": keepaliveTimeoutMs,
    "grpc.keepalive_permit_without_calls": 1,
  });
  const calls = new Set<LinkedAbort>();
  const context = serveContext(calls, options.log);
  for (const { definition, handlers } of options.services) server.addService(definition, handlers(context));
  const health = new HealthImplementation({ "": "SERVING" });
  health.addToServer(server);
  const credentials = experimental.createCertificateProviderServerCredentials(
    options.certificates,
    options.certificates,
    true,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(options.listen, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(cannotListen(options.listen, error));
    });
  });
  return {
    port,
    setServing: (serving) => health.setStatus("", serving ? "SERVING" : "NOT_SERVING"),
    close: async ({ deadlineMs }) => {
      health.setStatus("", "NOT_SERVING");
      const shutdown = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const reason = new LifeboatError("PeerUnreachable", "the peer is shutting down", { retryable: true });
      for (const call of calls) call.abort(reason);
      const late = Promise.withResolvers<void>();
      const deadline = setTimeout(() => late.resolve(), deadlineMs);
      // A connection that never finished its handshake is no session: the orderly way would wait for it for ever.
      await Promise.race([shutdown, late.promise]);
      clearTimeout(deadline);
      server.forceShutdown();
    },
  };
}

function cannotListen(address: string, cause: Error): LifeboatError {
  return new LifeboatError("ConfigInvalid", `cannot listen on ${address}: ${messageOf(cause)}`, {
    op: "rpc.listen",
    hint: "another process may hold the port, or the address is not of this machine",
    cause,
  });
}

type AnyServerCall = Pick<ServerDuplexStream<unknown, unknown>, "metadata" | "getAuthContext">;

/** The peer of a call. Throws PeerCertificate or PeerVersion for one that may not talk here. */
function authenticate(call: AnyServerCall, expect: PeerExpectation): PeerIdentity {
  const certificate = call.getAuthContext().sslPeerCertificate;
  const identity = identityOf(certificate?.subjectaltname);
  checkIdentity(identity, expect);
  checkVersion(call.metadata);
  return identity;
}

function checkVersion(metadata: Metadata): void {
  const text = String(metadata.get(protocolHeader)[0] ?? "none");
  const version = Number(text);
  if (version >= oldestProtocolVersion && version <= protocolVersion) return;
  throw new LifeboatError(
    "PeerVersion",
    `the caller speaks protocol version ${text}, this peer ${oldestProtocolVersion} to ${protocolVersion}`,
    { hint: "upgrade the older of the two" },
  );
}

function serveContext(calls: Set<LinkedAbort>, log: Log): ServeContext {
  /** Runs `work` while the call lives; then ends it with what came of it. */
  const run = async (
    op: string,
    peer: PeerIdentity,
    scope: LinkedAbort,
    work: () => Promise<void>,
    end: (error?: unknown) => void,
  ) => {
    calls.add(scope);
    try {
      await work();
      end();
    } catch (error) {
      const reason: unknown = scope.signal.aborted ? scope.signal.reason : error;
      logEnd(log, op, peer, reason);
      end(reason);
    } finally {
      calls.delete(scope);
      scope.abort(new LifeboatError("PeerUnreachable", "the stream has ended", { op }));
    }
  };
  const refuse = (call: AnyServerCall & ErrorEmitter, op: string, error: unknown) => {
    log.warn({ op, error: safeError(error) }, "call refused");
    endWithError(call, error);
  };
  return {
    log,
    duplex(call, { op, expect, encode, decode }, handler) {
      let peer: PeerIdentity;
      try {
        peer = authenticate(call, expect);
      } catch (error) {
        call.on("data", () => {});
        refuse(call, op, error);
        return;
      }
      const scope = linkedAbort();
      const finish = (error?: unknown) => (error === undefined ? call.end() : endWithError(call, error));
      const channel = new DuplexChannel({ call, peer, op, encode, decode, finish });
      call.on("cancelled", () => scope.abort(new LifeboatError("PeerUnreachable", "the peer ended the stream")));
      void run(
        op,
        peer,
        scope,
        () => handler(channel, { signal: scope.signal }),
        (error) => channel.close(error),
      );
    },
    stream(call, { op, expect }, handler) {
      let peer: PeerIdentity;
      try {
        peer = authenticate(call, expect);
      } catch (error) {
        refuse(call, op, error);
        return;
      }
      const scope = linkedAbort();
      call.on("cancelled", () => scope.abort(new LifeboatError("PeerUnreachable", "the peer ended the stream")));
      void run(
        op,
        peer,
        scope,
        () => writeAll(call, handler(peer, { signal: scope.signal }), scope.signal),
        (error) => (error === undefined ? call.end() : endWithError(call, error)),
      );
    },
  };
}

async function writeAll<Response>(
  call: ServerWritableStream<unknown, Response>,
  responses: AsyncIterable<Response>,
  signal: AbortSignal,
): Promise<void> {
  for await (const response of responses) {
    signal.throwIfAborted();
    if (call.write(response)) continue;
    const drained = Promise.withResolvers<void>();
    using _stop = onAbort(signal, drained.reject);
    call.once("drain", drained.resolve);
    await drained.promise;
  }
}

interface ErrorEmitter {
  emit(event: "error", error: unknown): boolean;
}

function endWithError(call: ErrorEmitter, error: unknown): void {
  call.emit("error", Object.assign(new Error(messageOf(error)), toStatus(error)));
}

/** A stream that ends because its peer went away or its process stops is an everyday event. */
function logEnd(log: Log, op: string, peer: PeerIdentity, error: unknown): void {
  const fields = { op, peer: formatIdentity(peer), error: safeError(error) };
  if (hasCode(error, "PeerUnreachable")) log.debug(fields, "stream ended");
  else log.warn(fields, "stream failed");
}
