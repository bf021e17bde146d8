import type { ServerDuplexStream } from "@grpc/grpc-js";
import { openDuplex } from "./calls.ts";
import type { MessageChannel } from "./channel.ts";
import { callMetadata, type Connection } from "./connection.ts";
import { decodeEnvelope, encodeEnvelope } from "./convert.ts";
import type { Envelope as WireEnvelope, Envelope__Output } from "./generated/lifeboat/v1/Envelope.ts";
import { checkSender, type PeerExpectation, type PeerIdentity } from "./identity.ts";
import type { Envelope } from "./messages.ts";
import { proto } from "./proto.ts";
import type { RpcService } from "./server.ts";

/** Either end of an exchange: envelopes out, envelopes in, with the sender's name checked. */
export type ExchangeChannel = MessageChannel<Envelope, Envelope>;

export interface ExchangeHandlers {
  /** One peer's stream; returns when it is to end. `channel.peer` says who it is. */
  connect(channel: ExchangeChannel, options: { signal: AbortSignal }): Promise<void>;
}

/** The Exchange service, for `startRpcServer`. */
export function exchangeService(expect: PeerExpectation, handlers: ExchangeHandlers): RpcService {
  return {
    definition: proto.Exchange.service,
    handlers: (context) => ({
      connect: (call: ServerDuplexStream<Envelope__Output, WireEnvelope>) =>
        context.duplex<Envelope, Envelope, WireEnvelope, Envelope__Output>(
          call,
          { op: "exchange.connect", expect, encode: encodeEnvelope, decode: decodeFromPeer },
          (channel, options) => handlers.connect(channel, options),
        ),
    }),
  };
}

/** Opens an exchange with the peer of a connection: another agent or the witness. */
export function openExchange(connection: Connection): ExchangeChannel {
  const { path, requestSerialize, responseDeserialize } = proto.Exchange.service.Connect;
  const call = connection.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, callMetadata());
  return openDuplex<Envelope, Envelope, WireEnvelope, Envelope__Output>(call, connection, {
    op: "exchange.connect",
    encode: encodeEnvelope,
    decode: decodeFromPeer,
  });
}

function decodeFromPeer(message: Envelope__Output, peer: PeerIdentity): Envelope {
  const envelope = decodeEnvelope(message);
  checkSender(envelope.from, peer);
  return envelope;
}
