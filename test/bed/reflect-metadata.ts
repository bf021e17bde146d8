/**
 * The four functions of the Reflect Metadata proposal that @peculiar/x509's dependency injection calls.
 * It refuses to load without them; imported for its effect, before @peculiar/x509.
 */

const stores = new WeakMap<object, Map<string, unknown>>();

function storeKey(key: string, property: string | symbol | undefined): string {
  return `${key}\n${property === undefined ? "" : String(property)}`;
}

function getOwnMetadata(key: string, target: object, property?: string | symbol): unknown {
  return stores.get(target)?.get(storeKey(key, property));
}

function getMetadata(key: string, target: object, property?: string | symbol): unknown {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const found = getOwnMetadata(key, at, property);
    if (found !== undefined) return found;
  }
  return undefined;
}

function defineMetadata(key: string, value: unknown, target: object, property?: string | symbol): void {
  const store = stores.get(target) ?? new Map<string, unknown>();
  store.set(storeKey(key, property), value);
  stores.set(target, store);
}

function metadata(key: string, value: unknown) {
  return (target: object, property?: string | symbol): void => defineMetadata(key, value, target, property);
}

if (!("getMetadata" in Reflect)) Object.assign(Reflect, { getOwnMetadata, getMetadata, defineMetadata, metadata });
