/**
 * What @peculiar/x509 asks of a Reflect polyfill, and no more: its injector looks up metadata that none of its
 * classes has. Import this before it.
 */
const metadata = new WeakMap<object, Map<unknown, unknown>>();

const getMetadata = (key: unknown, target: object): unknown => metadata.get(target)?.get(key);

const defineMetadata = (key: unknown, value: unknown, target: object): void => {
  const entries = metadata.get(target) ?? new Map<unknown, unknown>();
  metadata.set(target, entries.set(key, value));
};

// Another package may have brought the whole polyfill: it stays.
if (!("getMetadata" in Reflect)) {
  Object.assign(Reflect, { getMetadata, getOwnMetadata: getMetadata, defineMetadata });
}
