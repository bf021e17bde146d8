// oxlint-disable-next-line import/no-unassigned-import -- a polyfill is imported for what it does
import "./reflect.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { randomBytes, webcrypto } from "node:crypto";
import { formatIdentity, type PeerIdentity } from "./identity.ts";

/**
 * A pair's own authority and the certificates of its sites, for demo, tests and the chart's `generated` mode.
 * Elsewhere cert-manager or the user's own authority issues them.
 */

/** PEM texts, each ending with a line feed, so that certificates may be joined to a bundle. */
export interface KeyAndCertificate {
  readonly cert: string;
  readonly key: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Clocks of the sites may differ: a certificate is valid from a day before it is made. */
const backdateMs = 24 * 3600 * 1000;
const dayMs = 24 * 3600 * 1000;

export interface Validity {
  /** Present time in milliseconds since 1970. */
  readonly nowMs: number;
  readonly days: number;
}

/** A new self-signed authority for the pair. */
export async function createAuthority(pair: string, validity: Validity): Promise<KeyAndCertificate> {
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...common(validity),
    name: [{ CN: [`lifeboat ${pair}`] }],
    keys,
    extensions: [
      // No authorities below it: it signs leaves only.
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey, false),
    ],
  });
  return { cert: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/** A certificate for `identity`, signed by `authority`. The host names are for other tools; Lifeboat checks identity only. */
export async function issueCertificate(
  authority: KeyAndCertificate,
  identity: PeerIdentity,
  validity: Validity & { readonly dnsNames?: readonly string[] },
): Promise<KeyAndCertificate> {
  const keys = await generateKeys();
  const issuer = new X509Certificate(authority.cert);
  const names = (validity.dnsNames ?? []).map((value) => ({ type: "dns", value }) as const);
  const certificate = await X509CertificateGenerator.create({
    ...common(validity),
    subject: [{ CN: ["site" in identity ? identity.site : identity.role] }],
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([{ type: "url", value: formatIdentity(identity) }, ...names]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey, false),
      await AuthorityKeyIdentifierExtension.create(issuer, false),
    ],
  });
  return { cert: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

function common({ nowMs, days }: Validity) {
  return {
    // 64 random bits and a first byte that keeps the number positive.
    serialNumber: `01${randomBytes(8).toString("hex")}`,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + days * dayMs),
    signingAlgorithm: algorithm,
  };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey("pkcs8", PemConverter.decodeFirst(pem), algorithm, false, ["sign"]);
}
