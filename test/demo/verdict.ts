/** Checks that decide the demo's exit code, made by the demo itself with requests of its own. */
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { journalPath } from "../../src/agent/group-runtime.ts";
import { differences } from "../../src/apply/compare.ts";
import { GroupView, isShared } from "../../src/apply/view.ts";
import { systemClock } from "../../src/clock.ts";
import { messageOf } from "../../src/errors.ts";
import { Journal } from "../../src/journal/journal.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { Discovery } from "../../src/kube/discovery.ts";
import { parseKey } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import type { Role } from "../../src/render/types.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { spread } from "../bench/bare/writer.ts";
import { agentNamespace } from "../pair/install.ts";
import type { Reported } from "./manifests.ts";

const readersCount = 8;
/** Labels and annotations that are Lifeboat's own notes and no part of the application. */
const ownPrefix = "lifeboat.dev/";

/** Copies a group's journal as it is now, the parts that SQLite keeps beside it included, and opens the copy. */
export async function openJournalCopy(dataDir: string, group: string, to: string): Promise<Journal> {
  await mkdir(to, { recursive: true });
  const main = journalPath(dataDir, group);
  for (const part of ["", "-wal"]) {
    await copyFile(`${main}${part}`, join(to, `journal.db${part}`)).catch((error: unknown) => {
      if (part === "") throw error;
    });
  }
  return Journal.open({ path: join(to, "journal.db"), group });
}

function withoutNotes(object: KubeObject): KubeObject {
  const clean = (map: Record<string, string> | undefined): Record<string, string> =>
    Object.fromEntries(Object.entries(map ?? {}).filter(([name]) => !name.startsWith(ownPrefix)));
  const { labels, annotations, ...rest } = object.metadata;
  return { ...object, metadata: { ...rest, labels: clean(labels), annotations: clean(annotations) } };
}

export interface Comparison {
  /** Objects that were compared. */
  readonly compared: number;
  readonly different: readonly Reported[];
  /** What the role keeps back at the site. */
  readonly withheld: readonly Reported[];
}

/** Compares what the journal says, rendered for `site` in `role`, with what the site's API server has. */
export async function compareSite(
  journal: Journal,
  { client, site, role, signal }: { client: KubeClient; site: string; role: Role; signal: AbortSignal },
): Promise<Comparison> {
  const discovery = new Discovery({ client, clock: systemClock, random: Math.random, log: silentLog });
  await discovery.refresh({ signal });
  const view = new GroupView({ journal, discovery, uids: new Map(), site });
  const different: Reported[] = [];
  const withheld: Reported[] = [];
  let compared = 0;
  // The canary of the lag's measurement, in the agents' namespace, changes every second.
  const isOurs = (key: ObjectKey): boolean => key === view.specKey || parseKey(key).namespace === agentNamespace;
  const keys = [...journal.entries()].flatMap(([key, head]) => (head.hash === "" || isOurs(key) ? [] : [key]));
  await spread(keys, readersCount, async (source: ObjectKey) => {
    try {
      const made = view.renderKey(source, role);
      const reason = made?.rendered.withheld;
      if (reason !== undefined) withheld.push({ object: source, reason: reason.message });
      for (const { key, object } of made?.targets ?? []) {
        compared += 1;
        const problem = await compareObject(client, discovery, object, isShared(key), signal);
        if (problem !== undefined) different.push({ object: key, reason: problem });
      }
    } catch (error) {
      signal.throwIfAborted();
      different.push({ object: source, reason: messageOf(error) });
    }
  });
  return { compared, different, withheld };
}

async function compareObject(
  client: KubeClient,
  discovery: Discovery,
  wanted: KubeObject,
  shared: boolean,
  signal: AbortSignal,
): Promise<string | undefined> {
  const resource = discovery.resource(wanted.apiVersion, wanted.kind);
  if (resource === undefined) return `the site does not serve ${wanted.apiVersion} ${wanted.kind}`;
  const { namespace, name } = wanted.metadata;
  const live = await client.find(resource, { namespace, name }, { signal });
  if (live === undefined) return "is not there";
  // An object that others share is only asked for what it is, not for every label.
  const found = differences(withoutNotes(wanted), live).filter(({ path }) => !shared || !path.startsWith("metadata."));
  return found.length === 0 ? undefined : `differs at ${found.map(({ path }) => path).join(", ")}`;
}
