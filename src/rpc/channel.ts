import type { PeerIdentity } from "./identity.ts";

/**
 * Two-way stream of messages with one authenticated peer. What the protocols are written against; grpc implements it
 * in duplex.ts.
 */
export interface MessageChannel<Out, In> {
  readonly peer: PeerIdentity;
  /**
   * Resolves when the message is accepted for sending, which waits while the transport is backed up. Messages arrive
   * in the order of the calls. Rejects when the stream has ended or the signal aborts.
   */
  send(message: Out, options: { signal: AbortSignal }): Promise<void>;
  /**
   * Messages in order. Ends when the peer has finished; throws {@link LifeboatError} when the stream fails
   * (PeerUnreachable, PeerVersion, PeerCertificate, or the code that the peer gave). Iterate once only.
   */
  receive(options: { signal: AbortSignal }): AsyncIterableIterator<In>;
  /** Ends the stream: without an error in good order, with one so that the peer learns its code and message. */
  close(error?: unknown): void;
}
