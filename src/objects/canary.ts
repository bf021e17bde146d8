/** Canaries are ConfigMaps in the agents' namespace whose way through the stream measures a group's lag. */
export const canaryPrefix = "lifeboat-canary-";

/** Name of a group's canary. */
export function canaryName(group: string): string {
  return `${canaryPrefix}${group}`;
}
