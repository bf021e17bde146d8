import { writeFile } from "node:fs/promises";
import { stringify } from "yaml";
import type { KeyPair } from "./certificates.ts";

export interface KubeconfigOptions {
  /** Cluster and context name. */
  readonly site: string;
  /** e.g. `https://10.87.3.10:6443`. */
  readonly server: string;
  readonly caPem: string;
  /** Made unique per cluster by adding `@site`, so that several kubeconfigs can be merged. */
  readonly user: string;
  readonly credential: KeyPair;
}

/** A self-contained kubeconfig with one context, named like the site. */
export function kubeconfigText(options: KubeconfigOptions): string {
  const user = `${options.user}@${options.site}`;
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: options.site,
        cluster: { server: options.server, "certificate-authority-data": base64(options.caPem) },
      },
    ],
    users: [
      {
        name: user,
        user: {
          "client-certificate-data": base64(options.credential.certPem),
          "client-key-data": base64(options.credential.keyPem),
        },
      },
    ],
    contexts: [{ name: options.site, context: { cluster: options.site, user } }],
    "current-context": options.site,
  });
}

/** Writes a kubeconfig readable by its owner alone. Returns `path`. */
export async function writeKubeconfig(path: string, options: KubeconfigOptions): Promise<string> {
  await writeFile(path, kubeconfigText(options), { mode: 0o600 });
  return path;
}
