import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Random } from "../clock.ts";
import type { WitnessConfig } from "../config/agent.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { connect } from "../kube/client.ts";
import { kubeSourceFrom } from "../kube/kubeconfig.ts";
import type { Log } from "../telemetry/log.ts";
import { EtcdRegister, type EtcdRegisterOptions } from "./etcd-register.ts";
import { LeaseRegister } from "./lease-register.ts";
import { type Register, RegisterStore } from "./register.ts";
import { SqliteWitnessStore } from "./sqlite-store.ts";
import type { WitnessStore } from "./store.ts";

export interface OpenStoreOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

type StoreConfig = NonNullable<WitnessConfig["store"]>;

/**
 * The store that a witness's configuration names. One that cannot be reached is waited for by whoever reads it.
 * Rejects with ConfigInvalid, KubeconfigInvalid, WitnessStoreCorrupt or WitnessStoreFull.
 */
export async function openStore(config: WitnessConfig, options: OpenStoreOptions): Promise<WitnessStore> {
  const register = await registerOf(config.pair, config.store ?? {}, options.env);
  if (register !== undefined) return new RegisterStore({ register, ...options });
  return SqliteWitnessStore.open({ path: join(config.dataDir ?? "", "witness.db") });
}

async function registerOf(
  pair: string,
  { etcd, lease }: StoreConfig,
  env: OpenStoreOptions["env"],
): Promise<Register | undefined> {
  if (etcd !== undefined) {
    const { endpoints, key = `lifeboat/witness/${pair}`, tls } = etcd;
    return new EtcdRegister({ endpoints, key, ...(tls === undefined ? {} : { tls: await readTls(tls) }) });
  }
  if (lease === undefined) return undefined;
  const { namespace, name = `lifeboat-witness-${pair}` } = lease;
  const client = await connect(kubeSourceFrom(env, lease));
  return new LeaseRegister({ client, namespace, name, onClose: () => client.close() });
}

type TlsTexts = NonNullable<EtcdRegisterOptions["tls"]>;

async function readTls(files: TlsTexts): Promise<TlsTexts> {
  const read = (path: string): Promise<string> =>
    readFile(path, "utf8").catch((cause: unknown) => {
      const message = `cannot read store.etcd.tls: ${messageOf(cause)}`;
      throw new LifeboatError("ConfigInvalid", message, { op: "witness.open", cause });
    });
  const [cert, key, ca] = await Promise.all([read(files.cert), read(files.key), read(files.ca)]);
  return { cert, key, ca };
}
