/** The certificates and kubeconfigs of a site, made once and kept, so that a site that comes back is the same one. */
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority, createSigningKeys, readAuthority, writeKeyPair } from "./certificates.ts";
import type { Authority, KeyPair } from "./certificates.ts";
import { writeKubeconfig } from "./kubeconfig.ts";

export interface CredentialPlan {
  readonly site: string;
  /** The site's folder; everything goes to its `pki` folder. */
  readonly dir: string;
  readonly server: string;
  /** Addresses and names that the API server answers to. */
  readonly names: readonly string[];
}

/** File names within `pki`. */
export const pki = {
  authority: "ca",
  frontProxyAuthority: "front-proxy-ca",
  frontProxy: "front-proxy",
  apiserver: "apiserver",
  admin: "admin",
  serviceAccountPrivate: "service-accounts.key",
  serviceAccountPublic: "service-accounts.pub",
} as const;

/** Programs that talk to the API server, with the subject that Kubernetes' default RBAC expects. */
const clients: Readonly<Record<string, { commonName: string; organizations: readonly string[] }>> = {
  admin: { commonName: "admin", organizations: ["system:masters"] },
  "controller-manager": { commonName: "system:kube-controller-manager", organizations: [] },
  scheduler: { commonName: "system:kube-scheduler", organizations: [] },
};

export function pkiPath(dir: string, name: string): string {
  return join(dir, "pki", name);
}

export function kubeconfigPath(dir: string, client: string): string {
  return join(dir, `${client}.kubeconfig`);
}

/** Makes what is missing of a site's credentials. Returns its authority. */
export async function ensureCredentials(plan: CredentialPlan): Promise<Authority> {
  const base = pkiPath(plan.dir, pki.authority);
  const made = await access(join(plan.dir, "pki", "complete")).then(
    () => true,
    () => false,
  );
  return made ? readAuthority(base) : createCredentials(plan);
}

async function createCredentials(plan: CredentialPlan): Promise<Authority> {
  const at = (name: string): string => pkiPath(plan.dir, name);
  await mkdir(join(plan.dir, "pki"), { recursive: true, mode: 0o700 });
  const [authority, frontProxyAuthority, signing] = await Promise.all([
    createAuthority(`lifeboat-bed-${plan.site}`),
    createAuthority(`lifeboat-bed-${plan.site}-front-proxy`),
    createSigningKeys(),
  ]);
  const apiserver = authority.issue({
    commonName: "kube-apiserver",
    organizations: ["system:masters"],
    names: plan.names,
  });
  const frontProxy = frontProxyAuthority.issue({ commonName: "front-proxy" });
  await Promise.all([
    writeKeyPair(at(pki.authority), authority),
    writeKeyPair(at(pki.frontProxyAuthority), frontProxyAuthority),
    apiserver.then(async (pair) => writeKeyPair(at(pki.apiserver), pair)),
    frontProxy.then(async (pair) => writeKeyPair(at(pki.frontProxy), pair)),
    writeFile(at(pki.serviceAccountPrivate), signing.privatePem, { mode: 0o600 }),
    writeFile(at(pki.serviceAccountPublic), signing.publicPem),
    ...Object.keys(clients).map(async (client) => writeClient(plan, authority, client)),
  ]);
  await writeFile(at("complete"), "");
  return authority;
}

async function writeClient(plan: CredentialPlan, authority: Authority, client: string): Promise<void> {
  const credential = await authority.issue(clients[client] ?? { commonName: client });
  await writeKeyPair(pkiPath(plan.dir, client), credential);
  await writeKubeconfig(kubeconfigPath(plan.dir, client), {
    site: plan.site,
    server: plan.server,
    caPem: authority.certPem,
    user: client,
    credential,
  });
}

/** The administrator's certificate and key. */
export async function readAdmin(dir: string): Promise<KeyPair> {
  const base = pkiPath(dir, pki.admin);
  const [certPem, keyPem] = await Promise.all([readFile(`${base}.crt`, "utf8"), readFile(`${base}.key`, "utf8")]);
  return { certPem, keyPem };
}
