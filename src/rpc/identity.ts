import { LifeboatError } from "../errors.ts";

/**
 * Who a certificate belongs to. It is read from a URI in the certificate's subject alternative names:
 * `lifeboat://PAIR/site/NAME`, `lifeboat://PAIR/guard/SITE` (of the node guards of a site), `lifeboat://PAIR/witness`
 * or `lifeboat://PAIR/operator`. Host names play no part, so that an address may change without a new certificate.
 */
export type PeerIdentity =
  | { readonly pair: string; readonly role: "site" | "guard"; readonly site: string }
  | { readonly pair: string; readonly role: "witness" | "operator" };

/** What the other end must be. */
export interface PeerExpectation {
  readonly pair: string;
  /** Roles that may talk here. */
  readonly roles: readonly PeerIdentity["role"][];
  /** Where given, a peer with role `site` or `guard` must be of this one. */
  readonly site?: string;
}

const name = "[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?";
const identityUri = new RegExp(`^lifeboat://(${name})/(?:(site|guard)/(${name})|(witness|operator))$`);

export function formatIdentity(identity: PeerIdentity): string {
  const path = "site" in identity ? `${identity.role}/${identity.site}` : identity.role;
  return `lifeboat://${identity.pair}/${path}`;
}

/** Reads an identity URI; `undefined` for any other text. */
export function parseIdentity(uri: string): PeerIdentity | undefined {
  const [, pair, kind, site, role] = identityUri.exec(uri) ?? [];
  if (pair === undefined) return undefined;
  if (site !== undefined && (kind === "site" || kind === "guard")) return { pair, role: kind, site };
  return role === "witness" || role === "operator" ? { pair, role } : undefined;
}

/**
 * The identity in a certificate's subject alternative names, as Node prints them (`URI:lifeboat://…, DNS:…`). Throws
 * PeerCertificate when there is none or more than one. Names are quoted by Node where they hold a comma; an identity
 * never does, so a quoted name is not one.
 */
export function identityOf(subjectAltName: string | undefined): PeerIdentity {
  const found = (subjectAltName ?? "")
    .split(", ")
    .filter((entry) => entry.startsWith("URI:lifeboat:"))
    .map((entry) => parseIdentity(entry.slice("URI:".length)));
  const [identity] = found;
  if (found.length === 1 && identity !== undefined) return identity;
  throw new LifeboatError(
    "PeerCertificate",
    `certificate has no Lifeboat identity: its names are ${JSON.stringify(subjectAltName ?? "")}`,
    { hint: "the certificate needs one URI name lifeboat://PAIR/site/NAME, lifeboat://PAIR/witness or …/operator" },
  );
}

/** Throws PeerCertificate when `identity` is not what is expected. */
export function checkIdentity(identity: PeerIdentity, expected: PeerExpectation): void {
  const wrong =
    identity.pair !== expected.pair
      ? `pair ${expected.pair}`
      : !expected.roles.includes(identity.role)
        ? `role ${expected.roles.join(" or ")}`
        : "site" in identity && expected.site !== undefined && identity.site !== expected.site
          ? `site ${expected.site}`
          : undefined;
  if (wrong === undefined) return;
  throw new LifeboatError("PeerCertificate", `expected ${wrong}, the certificate says ${formatIdentity(identity)}`, {
    hint: "check the peer's address and which certificate it was given",
  });
}

/** Throws PeerCertificate when a message claims to come from another site than its sender's (`""`: the witness). */
export function checkSender(claimed: string, sender: PeerIdentity): void {
  const actual = sender.role === "site" ? sender.site : "";
  if (claimed === actual) return;
  throw new LifeboatError(
    "PeerCertificate",
    `a message says it is from ${JSON.stringify(claimed)}, its sender's certificate says ${formatIdentity(sender)}`,
    { hint: "check the configured site name of the peer and which certificate it was given" },
  );
}
