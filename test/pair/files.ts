/** Certificates and configuration files of one pair, as an operator would lay them out. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import type { agentConfigSchema, witnessConfigSchema } from "../../src/config/agent.ts";
import type { guardConfigSchema } from "../../src/config/guard.ts";
import { createAuthority, issueCertificate } from "../../src/rpc/pki.ts";
import type { PeerIdentity } from "../../src/rpc/identity.ts";
import type * as z from "zod";

/** A bed never lives for longer. */
const validDays = 30;

export const pairName = "bed";

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export type AgentFile = z.input<typeof agentConfigSchema>;
export type WitnessFile = z.input<typeof witnessConfigSchema>;
export type GuardFile = z.input<typeof guardConfigSchema>;

/** Where a process of the pair listens. */
export interface Ports {
  readonly rpc: number;
  readonly metrics: number;
}

/** Makes the pair's authority and one certificate per process under `dir`. Returns the files of each by name. */
export async function writeCertificates(dir: string, sites: readonly string[]): Promise<Map<string, TlsFiles>> {
  const validity = { nowMs: Date.now(), days: validDays };
  const authority = await createAuthority(pairName, validity);
  await mkdir(dir, { recursive: true });
  const ca = join(dir, "ca.pem");
  await writeFile(ca, authority.cert);
  const identities: [string, PeerIdentity][] = [
    ...sites.map((site): [string, PeerIdentity] => [site, { pair: pairName, role: "site", site }]),
    ...sites.map((site): [string, PeerIdentity] => [guardName(site), { pair: pairName, role: "guard", site }]),
    ["witness", { pair: pairName, role: "witness" }],
  ];
  const files = new Map<string, TlsFiles>();
  for (const [name, identity] of identities) {
    const leaf = await issueCertificate(authority, identity, validity);
    const cert = join(dir, `${name}.pem`);
    const key = join(dir, `${name}.key`);
    await writeFile(cert, leaf.cert);
    await writeFile(key, leaf.key, { mode: 0o600 });
    files.set(name, { cert, key, ca });
  }
  return files;
}

/** Name of a site's node guard among the processes of a pair. */
export function guardName(site: string): string {
  return `${site}-guard`;
}

/** Writes `value` as YAML and returns the path. */
export async function writeConfig(path: string, value: AgentFile | WitnessFile | GuardFile): Promise<string> {
  await writeFile(path, stringify(value));
  return path;
}
