import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/clock.ts";
import { Certificates } from "../../../src/rpc/certificates.ts";
import { connect, type Connection } from "../../../src/rpc/connection.ts";
import type { PeerIdentity } from "../../../src/rpc/identity.ts";
import { createAuthority, issueCertificate, type KeyAndCertificate } from "../../../src/rpc/pki.ts";
import { startRpcServer, type RpcServer, type RpcService } from "../../../src/rpc/server.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

/** Real servers, certificates and connections on loopback, closed together with `await using`. */

export const pairName = "shop-pair";
export const validity = { nowMs: Date.now(), days: 2 };

export interface TestPair {
  readonly authority: KeyAndCertificate;
  certificatesFor(identity: PeerIdentity): Promise<Certificates>;
}

export async function createPair(pair = pairName): Promise<TestPair> {
  const authority = await createAuthority(pair, validity);
  return {
    authority,
    certificatesFor: async (identity) => {
      const leaf = await issueCertificate(authority, identity, validity);
      return new Certificates({
        cert: Buffer.from(leaf.cert),
        key: Buffer.from(leaf.key),
        ca: Buffer.from(authority.cert),
      });
    },
  };
}

export function site(name: string, pair = pairName): PeerIdentity {
  return { pair, role: "site", site: name };
}

export const witness: PeerIdentity = { pair: pairName, role: "witness" };

/** The peer that most tests expect: a site of the pair. */
export const anySite = { pair: pairName, roles: ["site"] } as const;

export async function serve(
  certificates: Certificates,
  services: readonly RpcService[],
  port = 0,
): Promise<RpcServer & AsyncDisposable> {
  const server = await startRpcServer({ listen: `127.0.0.1:${port}`, certificates, services, log: silentLog });
  return { ...server, [Symbol.asyncDispose]: () => server.close({ deadlineMs: 100 }) };
}

export async function dial(
  certificates: Certificates,
  port: number,
  expect: Parameters<typeof connect>[0]["expect"] = anySite,
): Promise<Connection & Disposable> {
  const options = { address: `127.0.0.1:${port}`, certificates, expect };
  const connection = await connect(options, { signal: new AbortController().signal });
  return { ...connection, [Symbol.dispose]: () => connection.close() };
}

/** Resolves when `condition` holds; rejects after `limitMs`. Returns how long it took. */
export async function eventually(condition: () => boolean, limitMs = 5000): Promise<number> {
  const startMs = systemClock.monotonicMs();
  while (!condition()) {
    if (systemClock.monotonicMs() - startMs > limitMs)
      throw new Error(`not so within ${limitMs} ms: ${condition.toString()}`);
    await sleep(5);
  }
  return systemClock.monotonicMs() - startMs;
}
