import { databases } from "./databases.ts";
import { messaging } from "./messaging.ts";
import { scaling } from "./scaling.ts";
import { tasks } from "./tasks.ts";

/**
 * Standby profiles: how a custom resource of a known operator is kept from running while its site is standby. To add
 * one, add an entry to the file of its field. What a profile changes is put into the `held` annotation by itself, so
 * nothing needs to be said about the way back.
 */
export interface Profile {
  /** Fields to set, as JSON pointers in which a part `*` stands for every entry. Without a value: to remove. */
  readonly set?: readonly { readonly path: string; readonly value?: unknown }[];
  /** The resource is created at promotion only. */
  readonly withhold?: boolean;
  /**
   * Whether the operator also stops what already runs when it sees these values. Where it does not, a site that
   * returns as standby has to stop the pods itself.
   * @default true
   */
  readonly stops?: boolean;
}

/** Profiles by `group/Kind`. */
export type Profiles = Readonly<Record<string, Profile>>;

export const builtInProfiles: ReadonlyMap<string, Profile> = new Map(
  Object.entries({ ...databases, ...messaging, ...scaling, ...tasks }),
);
