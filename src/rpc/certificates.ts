import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { experimental } from "@grpc/grpc-js";
import { LifeboatError, messageOf } from "../errors.ts";
import { certificateRefreshMs } from "./limits.ts";
import { identityOf, type PeerIdentity } from "./identity.ts";

export interface CertificateFiles {
  /** PEM: the own certificate, intermediates after it. */
  readonly certFile: string;
  /** PEM: its private key. */
  readonly keyFile: string;
  /** PEM: one or more authorities to trust; two during a rotation. */
  readonly caFile: string;
}

export interface CertificateMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

/**
 * The own certificate and the trusted authorities, read again when their files change. A set that does not fit
 * together (a key beside the certificate of another one, half a file) is not used: the last good one stays, since
 * files are rarely replaced in one moment.
 */
export class Certificates implements experimental.CertificateProvider {
  #material: CertificateMaterial;
  #identity: PeerIdentity;
  #problem: LifeboatError | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  readonly #caListeners = new Set<experimental.CaCertificateUpdateListener>();

  /** Throws PeerCertificate when the material does not fit together or carries no identity. */
  constructor(material: CertificateMaterial) {
    this.#identity = inspect(material);
    this.#material = material;
  }

  /**
   * Reads the files and goes on reading them every `refreshMs` until {@link close}. Throws PeerCertificate when they
   * cannot be used.
   */
  static async load(files: CertificateFiles, options: { refreshMs?: number } = {}): Promise<Certificates> {
    const result = new Certificates(await readMaterial(files));
    result.#timer = setInterval(() => void result.#reload(files), options.refreshMs ?? certificateRefreshMs);
    result.#timer.unref();
    return result;
  }

  get material(): CertificateMaterial {
    return this.#material;
  }

  /** Who the own certificate says this process is. */
  get identity(): PeerIdentity {
    return this.#identity;
  }

  /** Why the files as they are now are not in use, if so. */
  get problem(): LifeboatError | undefined {
    return this.#problem;
  }

  /** When the own certificate expires, in milliseconds since 1970. */
  get expiresAtMs(): number {
    return new X509Certificate(this.#material.cert).validToDate.getTime();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #reload(files: CertificateFiles): Promise<void> {
    try {
      const material = await readMaterial(files);
      this.#problem = undefined;
      if (sameMaterial(material, this.#material)) return;
      this.#identity = inspect(material);
      this.#material = material;
    } catch (error) {
      this.#problem = error instanceof LifeboatError ? error : unusable(messageOf(error), error);
      return;
    }
    for (const listener of this.#identityListeners) listener(this.#identityUpdate());
    for (const listener of this.#caListeners) listener(this.#caUpdate());
  }

  #identityUpdate(): experimental.IdentityCertificateUpdate {
    return { certificate: this.#material.cert, privateKey: this.#material.key };
  }

  #caUpdate(): experimental.CaCertificateUpdate {
    return { caCertificate: this.#material.ca };
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.add(listener);
    // Not at once: a server subscribes to its credentials before it watches them.
    queueMicrotask(() => listener(this.#identityUpdate()));
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.delete(listener);
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.add(listener);
    queueMicrotask(() => listener(this.#caUpdate()));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.delete(listener);
  }
}

async function readMaterial(files: CertificateFiles): Promise<CertificateMaterial> {
  try {
    const [cert, key, ca] = await Promise.all([
      readFile(files.certFile),
      readFile(files.keyFile),
      readFile(files.caFile),
    ]);
    return { cert, key, ca };
  } catch (error) {
    throw unusable(`cannot read the certificate files: ${messageOf(error)}`, error);
  }
}

function sameMaterial(a: CertificateMaterial, b: CertificateMaterial): boolean {
  return a.cert.equals(b.cert) && a.key.equals(b.key) && a.ca.equals(b.ca);
}

/** Returns the identity; throws PeerCertificate when the parts do not fit together. */
function inspect(material: CertificateMaterial): PeerIdentity {
  let subjectAltName: string | undefined;
  try {
    createSecureContext({ cert: material.cert, key: material.key, ca: material.ca });
    checkBundle(material.ca.toString());
    subjectAltName = new X509Certificate(material.cert).subjectAltName;
  } catch (error) {
    throw unusable(`certificate, key and authorities do not fit together: ${messageOf(error)}`, error);
  }
  return identityOf(subjectAltName);
}

/** Node takes a bundle that it cannot read for an empty one, and then trusts nobody without saying why. */
function checkBundle(pem: string): void {
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----\r?\n[^-]+-----END CERTIFICATE-----(?=\s|$)/g) ?? [];
  const begun = pem.split("-----BEGIN").length - 1;
  if (certificates.length === 0 || certificates.length !== begun) {
    throw new Error(`the bundle of authorities holds ${begun} PEM blocks, ${certificates.length} of them certificates`);
  }
  for (const certificate of certificates) void new X509Certificate(certificate);
}

function unusable(message: string, cause: unknown): LifeboatError {
  return new LifeboatError("PeerCertificate", message, {
    op: "rpc.certificates",
    hint: "check the paths of the certificate, its key and the bundle of authorities",
    cause,
  });
}
