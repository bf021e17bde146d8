import type { KindRule } from "./rule.ts";

/** Every site shows the group's object by itself, as the original or as a mirror: see src/agent/mirror.ts. */
export const protectionGroup: KindRule = {
  prepare: () => ({ reason: "SiteHasItsOwn", message: "the site shows a mirror of it" }),
};
