import { homedir } from "node:os";
import { join } from "node:path";

/** Lifeboat's folder in the user's cache: `$XDG_CACHE_HOME/lifeboat`, else `~/.cache/lifeboat`. */
export function cacheHome(env: NodeJS.ProcessEnv = process.env): string {
  const base = env["XDG_CACHE_HOME"];
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "lifeboat");
}

/** The folder that holds one folder per bed: `$LIFEBOAT_BED_HOME`, else in the user's cache. */
export function bedsHome(env: NodeJS.ProcessEnv = process.env): string {
  const own = env["LIFEBOAT_BED_HOME"];
  return own === undefined || own === "" ? join(cacheHome(env), "beds") : own;
}
