/**
 * Limits of the transport, in one place.
 */

/** Version of the messages in proto/. Raised when an old peer would misunderstand a new one. */
export const protocolVersion = 1;

/** Oldest version that this program still speaks. */
export const oldestProtocolVersion = 1;

/** Header of every call that names the caller's protocol version. */
export const protocolHeader = "lifeboat-protocol";

/**
 * Largest message. The API server takes objects of up to 3 MiB as JSON, and managedFields may weigh as much again;
 * a batch holds at least one record whatever its size.
 */
export const messageBytesMax = 16 * 1024 * 1024;

/**
 * What a client may have in flight towards it on one connection, and so the bandwidth-delay product that one
 * connection can fill: 8 MiB is 640 Mbit/s at 100 ms. It is above the credit of a stream, so that a slow group
 * never closes the window for the others.
 */
export const flowControlWindowBytes = 8 * 1024 * 1024;

/** A half-open connection is found within the sum of the two. */
export const keepaliveTimeMs = 2000;
export const keepaliveTimeoutMs = 1000;

/**
 * Time for one connection attempt, TLS and first answer included: several round trips on any earth-bound path, and
 * short enough that after a cut the next attempt begins soon (a lost SYN is repeated after 1 s, then 3 s).
 */
export const connectTimeoutMs = 2000;

/** Delay before a retry; with an attempt's time limit a healed path is found within 3 s. */
export const reconnectFirstMs = 100;
export const reconnectMaxMs = 1000;

/** Streams on one connection: a Pull per group and the exchanges; 2,000 groups are the largest bench. */
export const streamsPerConnectionMax = 4096;

/** Received messages that wait for their reader before the transport is told to wait. */
export const receivedMessagesMax = 64;

/** How often certificate files are read again. Rotation overlaps by hours, so this is not in any hurry. */
export const certificateRefreshMs = 5000;
