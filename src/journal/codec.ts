import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { LifeboatError } from "../errors.ts";

/**
 * Texts of the journal as bytes on disk: one byte of flags, then the text, compressed where that pays and encrypted
 * where a key is given.
 *
 * **Without a key file the journal is not encrypted**: it then holds the group's Secrets as readable as etcd without
 * encryption at rest does, protected by the file's mode (0600) and by the volume alone. With a key file every object,
 * its managers and every state record is sealed with AES-256-GCM; keys (kinds and names), hashes and sequence
 * numbers stay readable.
 */
export interface Codec {
  /** `name` binds the sealed bytes to their row, so that rows cannot be swapped unnoticed. */
  encode(name: string, text: string): Uint8Array;
  decode(name: string, bytes: Uint8Array): string;
}

const flags = { zstd: 1, sealed: 2 } as const;

/**
 * Compressing costs 20 µs a call whatever the size and halves a small object, which saves less than a page write.
 * From 4,096 characters on it saves pages.
 */
const compressMinChars = 4096;

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** Reads a key file: 32 bytes, or the same as 64 hex digits. Throws ConfigInvalid. */
export function readKeyFile(path: string): Uint8Array {
  const raw = readFileSync(path);
  if (raw.length === keyBytes) return raw;
  const hex = raw.toString("latin1").trim();
  if (/^[0-9a-f]{64}$/i.test(hex)) return Buffer.from(hex, "hex");
  throw new LifeboatError("ConfigInvalid", `key file ${path} is neither 32 bytes nor 64 hex digits`, {
    hint: "make one with: openssl rand -hex 32",
  });
}

export function createCodec(key: Uint8Array | undefined): Codec {
  return {
    encode(name, text) {
      const compress = text.length >= compressMinChars;
      const body = compress ? zstdCompressSync(text) : Buffer.from(text, "utf8");
      const flag = (compress ? flags.zstd : 0) | (key === undefined ? 0 : flags.sealed);
      return Buffer.concat([Uint8Array.of(flag), key === undefined ? body : seal(key, name, body)]);
    },
    decode(name, bytes) {
      const flag = bytes[0] ?? 0;
      const stored = Buffer.from(bytes.buffer, bytes.byteOffset + 1, bytes.byteLength - 1);
      const body = (flag & flags.sealed) === 0 ? stored : unseal(key, name, stored);
      return ((flag & flags.zstd) === 0 ? body : zstdDecompressSync(body)).toString("utf8");
    },
  };
}

function seal(key: Uint8Array, name: string, body: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(name));
  const sealed = Buffer.concat([cipher.update(body), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
}

function unseal(key: Uint8Array | undefined, name: string, stored: Buffer): Buffer {
  if (key === undefined) throw wrongKey("the journal is encrypted and no key file is configured");
  const nonce = stored.subarray(0, nonceBytes);
  const tag = stored.subarray(nonceBytes, nonceBytes + tagBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(name)).setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(stored.subarray(nonceBytes + tagBytes)), decipher.final()]);
  } catch (error) {
    throw wrongKey("the key file does not fit the journal, or the journal was altered", error);
  }
}

function wrongKey(message: string, cause?: unknown): LifeboatError {
  return new LifeboatError("ConfigInvalid", message, {
    op: "journal.read",
    hint: "configure the key file the journal was written with, or move the journal away to synchronise again",
    cause,
  });
}
