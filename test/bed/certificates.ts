// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 does not load without its effect
import "../../src/rpc/reflect.ts";
import { readFile, writeFile } from "node:fs/promises";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto);

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

const hourMs = 3_600_000;
/** A bed lives minutes to days; a year spares everybody a surprise. */
const lifetimeMs = 365 * 24 * hourMs;

/** A certificate and its private key (PKCS #8), both as PEM. */
export interface KeyPair {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface IssueOptions {
  /** Subject CN; the user name in Kubernetes. */
  readonly commonName: string;
  /** Subject O, one per entry; the groups in Kubernetes. */
  readonly organizations?: readonly string[];
  /** DNS names and IP addresses; with any, the certificate is also good for a server. */
  readonly names?: readonly string[];
  /** A certificate whose validity ended an hour ago. @default false */
  readonly expired?: boolean;
}

/** A certificate authority that issues client and server certificates. */
export interface Authority {
  readonly certPem: string;
  readonly keyPem: string;
  issue(options: IssueOptions): Promise<KeyPair>;
}

async function toPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey("pkcs8", key);
  return x509.PemConverter.encode(der, "PRIVATE KEY");
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

function serialNumber(): string {
  // The top bit stays clear: serial numbers are positive integers.
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

function validity(expired: boolean): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return expired
    ? { notBefore: new Date(now - 48 * hourMs), notAfter: new Date(now - hourMs) }
    : { notBefore: new Date(now - hourMs), notAfter: new Date(now + lifetimeMs) };
}

function subjectName(options: IssueOptions): x509.Name {
  return new x509.Name([
    ...(options.organizations ?? []).map((group) => ({ O: [group] })),
    { CN: [options.commonName] },
  ]);
}

/** A new self-signed authority. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const keys = await newKeys();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: new x509.Name([{ CN: [commonName] }]),
    ...validity(false),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return authority(cert, keys.privateKey, await toPem(keys.privateKey));
}

function authority(cert: x509.X509Certificate, signingKey: webcrypto.CryptoKey, keyPem: string): Authority {
  return {
    certPem: cert.toString("pem"),
    keyPem,
    async issue(options) {
      const keys = await newKeys();
      const names = options.names ?? [];
      const usages: string[] = [x509.ExtendedKeyUsage.clientAuth];
      if (names.length > 0) usages.push(x509.ExtendedKeyUsage.serverAuth);
      const issued = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: subjectName(options).toString(),
        issuer: cert.subject,
        ...validity(options.expired ?? false),
        publicKey: keys.publicKey,
        signingKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension(usages),
          await x509.AuthorityKeyIdentifierExtension.create(cert),
          ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names.map(alternativeName))] : []),
        ],
      });
      return { certPem: issued.toString("pem"), keyPem: await toPem(keys.privateKey) };
    },
  };
}

function alternativeName(name: string): x509.JsonGeneralName {
  return /^[0-9.]+$|:/.test(name) ? { type: "ip", value: name } : { type: "dns", value: name };
}

/** Writes `<base>.crt` and `<base>.key`, the key readable by its owner alone. */
export async function writeKeyPair(base: string, pair: KeyPair): Promise<void> {
  await Promise.all([writeFile(`${base}.crt`, pair.certPem), writeFile(`${base}.key`, pair.keyPem, { mode: 0o600 })]);
}

/** The authority that {@link writeKeyPair} wrote at `base`. */
export async function readAuthority(base: string): Promise<Authority> {
  const [certPem, keyPem] = await Promise.all([readFile(`${base}.crt`, "utf8"), readFile(`${base}.key`, "utf8")]);
  const der = x509.PemConverter.decodeFirst(keyPem);
  const key = await webcrypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
  return authority(new x509.X509Certificate(certPem), key, keyPem);
}

/** The key pair that signs ServiceAccount tokens: private key PKCS #8 and public key SPKI, as PEM. */
export async function createSigningKeys(): Promise<{ privatePem: string; publicPem: string }> {
  const keys = await newKeys();
  const spki = await webcrypto.subtle.exportKey("spki", keys.publicKey);
  return { privatePem: await toPem(keys.privateKey), publicPem: x509.PemConverter.encode(spki, "PUBLIC KEY") };
}
