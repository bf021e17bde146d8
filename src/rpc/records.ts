import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import { LifeboatError } from "../errors.ts";
import type { ChangeRecord } from "../objects/record.ts";
import { safeInteger } from "./convert.ts";
import { messageBytesMax } from "./limits.ts";
import type { Compression } from "./messages.ts";
import { proto } from "./proto.ts";

/**
 * The records of a batch as bytes: encoded once, so that their size is known (credit, metrics), and compressed where
 * that was agreed.
 */

/** Level 1: more than half of what higher levels save on manifests, at a fraction of their cost. */
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** A batch that expands beyond this is refused before it is expanded: four of the largest messages. */
const expandedBytesMax = 4 * messageBytesMax;

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

export function encodeRecords(records: readonly ChangeRecord[]): Buffer {
  return proto.Records.serialize({
    records: records.map(({ seq, key, hash, object, managers }) => ({
      seq,
      key,
      hash,
      object: object ?? "",
      managers,
    })),
  });
}

export function decodeRecords(bytes: Buffer): ChangeRecord[] {
  return proto.Records.deserialize(bytes).records.map(({ seq, key, hash, object, managers }) => ({
    seq: safeInteger(seq),
    key,
    hash,
    object: object === "" ? undefined : object,
    managers,
  }));
}

/** Encoded records compressed with zstd. */
export async function compressRecords(encoded: Buffer): Promise<Buffer> {
  return compress(encoded, zstdOptions);
}

/** Inverse of {@link compressRecords} for either compression. Throws Internal on bytes that are not what they say. */
export async function expandRecords(bytes: Buffer, compression: Compression): Promise<Buffer> {
  if (compression === "NONE") return bytes;
  try {
    return await decompress(bytes, { maxOutputLength: expandedBytesMax });
  } catch (error) {
    throw new LifeboatError("Internal", "the peer sent a batch that cannot be expanded", { cause: error });
  }
}
