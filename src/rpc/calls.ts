import type { ClientDuplexStream, ClientReadableStream } from "@grpc/grpc-js";
import { onAbort } from "../abort.ts";
import type { MessageChannel } from "./channel.ts";
import type { Connection } from "./connection.ts";
import { DuplexChannel, type DuplexOptions } from "./duplex.ts";
import { fromStatus } from "./status.ts";

/** After this a call that was ended in good order is cut, should the peer not end its side. */
const closeGraceMs = 1000;

/** The client's side of a bidirectional call as a channel. */
export function openDuplex<Out, In, WireOut, WireIn>(
  call: ClientDuplexStream<WireOut, WireIn>,
  connection: Connection,
  options: Pick<DuplexOptions<Out, In, WireOut, WireIn>, "op" | "encode" | "decode">,
): MessageChannel<Out, In> {
  return new DuplexChannel({
    ...options,
    call,
    peer: connection.peer,
    finish: (error) => {
      if (error !== undefined) {
        call.cancel();
        return;
      }
      call.end();
      setTimeout(() => call.cancel(), closeGraceMs).unref();
    },
  });
}

/** Messages of a server stream, each read when the last was taken. Cancels the call when the reader stops. */
export async function* readStream<Message>(
  call: ClientReadableStream<Message>,
  connection: Connection,
  op: string,
  { signal }: { signal: AbortSignal },
): AsyncIterableIterator<Message> {
  using _cancel = onAbort(signal, () => call.cancel());
  try {
    for await (const message of call) yield message as Message;
  } catch (error) {
    signal.throwIfAborted();
    throw fromStatus(error, { op, unreachable: connection.unreachable });
  } finally {
    call.cancel();
  }
}
