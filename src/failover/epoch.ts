/**
 * Epochs and certificates: who may run a group, as a number that only grows.
 *
 * An epoch is ⟨witness generation | counter | site of a forced one⟩. The generation changes at every start of the
 * witness, so that a witness whose disk was rolled back can never hand out a number twice; the nonce of that start
 * travels along, so that two starts that still came to the same generation are noticed (`conflict`) instead of
 * being taken for one another.
 */

import { compareEpochParts } from "../objects/epoch.ts";

export type SiteName = string;

export interface Epoch {
  /** Generation of the witness that granted it: max(stored + 1, unix time in seconds, any heard + 1). */
  readonly generation: number;
  /** Boot nonce of that witness generation. Never ordered, only compared for equality. */
  readonly nonce: string;
  /** Grows by one with every grant, across generations too. */
  readonly counter: number;
  /** The site at which a person forced this epoch, or "" when the witness granted it. */
  readonly forcedBy: SiteName;
}

/** Who holds which epoch. Always exchanged whole: an epoch without its holder says nothing. */
export interface Cert {
  readonly epoch: Epoch;
  readonly holder: SiteName;
  /** Opaque signature of the grantor; filled in and verified by the runner, never looked at by a reducer. */
  readonly sig: string;
}

/** How `a` stands to `b`. `conflict`: same generation from two witness boots, or one epoch with two holders. */
export type EpochOrder = "older" | "same" | "newer" | "conflict";

export function compareEpoch(a: Epoch, b: Epoch): EpochOrder {
  if (a.generation !== b.generation) return a.generation < b.generation ? "older" : "newer";
  if (a.nonce !== b.nonce) return "conflict";
  const order = compareEpochParts(a, b);
  return order === 0 ? "same" : order < 0 ? "older" : "newer";
}

/** How `a` stands to `b`; no certificate at all is older than any. */
export function compareCert(a: Cert | null, b: Cert | null): EpochOrder {
  if (a === null) return b === null ? "same" : "older";
  if (b === null) return "newer";
  if (a.epoch === b.epoch && a.holder === b.holder) return "same";
  const order = compareEpoch(a.epoch, b.epoch);
  return order === "same" && a.holder !== b.holder ? "conflict" : order;
}

export function sameCert(a: Cert | null, b: Cert | null): boolean {
  return compareCert(a, b) === "same";
}

export function isNewer(a: Cert | null, b: Cert | null): boolean {
  return compareCert(a, b) === "newer";
}

/** `1763701748.3`, or `1763701748.4.west` for one forced at west. What people read, type and put in annotations. */
export function formatEpoch(epoch: Epoch): string {
  const forced = epoch.forcedBy === "" ? "" : `.${epoch.forcedBy}`;
  return `${epoch.generation}.${epoch.counter}${forced}`;
}

/** The epoch of a certificate as people read it; `none` before the first grant. */
export function formatCert(cert: Cert | null): string {
  return cert === null ? "none" : `${formatEpoch(cert.epoch)} (${cert.holder})`;
}

/** The epoch that a person forces at `site` on top of what this site has seen. */
export function forcedEpoch(seen: Epoch, site: SiteName): Epoch {
  return { generation: seen.generation, nonce: seen.nonce, counter: seen.counter + 1, forcedBy: site };
}
