/**
 * Limits of a group's stream, in one place.
 */

/**
 * Aim for the size of a batch: large enough that the cost per message is shared by many records, small enough that
 * a batch passes a 10 Mbit/s link in 100 ms and keepalive pings behind it are in time.
 */
export const batchBytesMax = 128 * 1024;

/** Records of a batch: 128 KiB of the smallest ones. */
export const batchCountMax = 1000;

/** A batch from this size on was cut off by its limit or nearly so: there is more behind it. */
export const fullBatchBytes = 64 * 1024;

/** Credit that a batch costs beside its bytes, so that credit also bounds how many small ones wait. */
export const batchOverheadBytes = 256;

/**
 * After a batch that was not full, the next one waits this long: each one costs a message, a commit with its fsync and
 * an answer, and in a burst it is the processor that everybody waits for.
 */
export const batchSpacingMs = 10;

/** After an Ack the next one waits this long: at a burst each change is applied by itself. */
export const ackSpacingMs = 10;

/** Credit of a new stream, and the least: two batches in flight. */
export const windowBytesMin = 256 * 1024;

/** Most credit of a stream, below the connection's flow-control window; also what a slow sink holds in memory. */
export const windowBytesMax = 4 * 1024 * 1024;

/**
 * Credit follows what the path carries in this time. It is above most round trips, so that the stream can grow, and
 * below the time that a keepalive ping behind it may take.
 */
export const windowAimMs = 250;

/** Batches that wait are made durable together up to this size: one fsync for many. */
export const commitBytesMax = 4 * 1024 * 1024;

/** Something is sent at least this often. */
export const heartbeatMs = 1000;

/**
 * A peer that sends nothing for this long is given up. Dead links are found much sooner by the connection's
 * keepalive; this is for a peer whose connection lives and whose stream does not. A record of 3 MiB passes a
 * 2 Mbit/s link in 13 s.
 */
export const silenceMs = 15_000;

/** Time for the peer's first message. */
export const helloTimeoutMs = 5000;

/** Time between comparisons of the digests of two ends that believe themselves equal; drawn from ±50 %. */
export const checkEveryMs = 5 * 60_000;

/** Text of keys and hashes in one Compare. */
export const compareBytesMax = 64 * 1024;

/** Compares that the standby sends ahead of their answers. */
export const comparesAheadMax = 4;

/** Batches smaller than this are not worth compressing. */
export const compressBytesMin = 4096;

/** Digests that may wait at a standby: it asks for one at a time, and a reset may come between. */
export const digestsWaitingMax = 8;

/** One record may be as large as the API server takes, with managedFields as large again. */
export const overdraftBytesMax = 8 * 1024 * 1024;

/** Delay before a stream that failed is opened again. */
export const reopenFirstMs = 100;
export const reopenMaxMs = 3000;
