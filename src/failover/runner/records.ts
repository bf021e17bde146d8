import type { Clock } from "../../clock.ts";
import { LifeboatError } from "../../errors.ts";
import { emptyRecord, type SiteRecord } from "../agent-state.ts";
import type { SiteName } from "../epoch.ts";
import { siteRecordSchema } from "./schema.ts";

/**
 * Where a site keeps what it must never forget. The agent's own state file implements it; not a group's journal,
 * which may be moved away and filled again from the peer, and with it a promise would be forgotten.
 */
export interface DurableRecords {
  /** The JSON value last put, or undefined. Throws when the record cannot be read. */
  getState(name: string): unknown;
  /** On the disk (fsync) when it resolves. `undefined` removes. A rejection leaves the outcome open. */
  putState(name: string, value: unknown): Promise<void>;
}

const incarnationName = "failover/incarnation";
const groupName = (group: string) => `failover/group/${group}`;
const runningName = (group: string) => `failover/running/${group}`;

/**
 * A new incarnation of this site, for an agent that runs alone: above the stored one and not below the unix time in
 * seconds, so that a site whose disk was lost is not refused for ever as an older life of itself. `above` is a number
 * that somebody has heard.
 */
export async function claimIncarnation(records: DurableRecords, clock: Clock, above = 0): Promise<number> {
  const stored = records.getState(incarnationName);
  const last = typeof stored === "number" && Number.isSafeInteger(stored) ? stored : 0;
  const incarnation = Math.max(last + 1, above + 1, Math.floor(clock.wallMs() / 1000));
  await records.putState(incarnationName, incarnation);
  return incarnation;
}

/** What a site knows durably of one group's failover; see {@link SiteRecord}. */
export class GroupRecords {
  readonly #records: DurableRecords;
  readonly #group: string;

  constructor(records: DurableRecords, group: string) {
    this.#records = records;
    this.#group = group;
  }

  /** Throws JournalCorrupt when what is stored is no record. */
  read(): SiteRecord {
    const stored = this.#records.getState(groupName(this.#group));
    if (stored === undefined) return emptyRecord;
    const parsed = siteRecordSchema.safeParse(stored);
    if (parsed.success) return parsed.data;
    throw new LifeboatError("JournalCorrupt", `the failover record of group ${this.#group} is damaged`, {
      op: "failover.record",
      hint: "restore the agent's state file; without it the site must be told anew by the witness and its peer",
      cause: parsed.error,
    });
  }

  /** Whether the group has begun here and has not ended since, or begun anew. */
  isLive(): boolean {
    const { incarnation, cert, released } = this.read();
    return incarnation > 0 && (cert !== null || released === null);
  }

  /** The first write of an incarnation; throws FailoverRefused unless it is above the stored one. */
  async claim(record: SiteRecord): Promise<void> {
    const { incarnation } = this.read();
    if (incarnation >= record.incarnation) throw this.#outdated(incarnation, record);
    await this.#records.putState(groupName(this.#group), record);
  }

  /**
   * Writes by compare-and-swap on the incarnation: a store that holds a higher one belongs to a newer leader of this
   * site, and FailoverRefused is thrown.
   */
  async write(record: SiteRecord): Promise<void> {
    const { incarnation } = this.read();
    if (incarnation > record.incarnation) throw this.#outdated(incarnation, record);
    await this.#records.putState(groupName(this.#group), record);
  }

  #outdated(stored: number, record: SiteRecord): LifeboatError {
    return new LifeboatError(
      "FailoverRefused",
      `incarnation ${stored} leads group ${this.#group} at this site, this is ${record.incarnation}`,
      { op: "failover.record", hint: "another agent of this site took over; this one stands by" },
    );
  }

  /** The group has ended: what is left of it is this record. */
  async end(record: SiteRecord): Promise<void> {
    await this.write(record);
    await this.writeRunning(null);
  }

  /** Forgets a group that has ended without the witness's word. */
  async remove(): Promise<void> {
    await this.#records.putState(groupName(this.#group), undefined);
    await this.writeRunning(null);
  }

  /** Notes that the group runs here during these boots of machines; null when it does not. */
  async writeRunning(bootIds: readonly string[] | null): Promise<void> {
    await this.#records.putState(runningName(this.#group), bootIds === null ? undefined : { bootIds });
  }

  /**
   * Whether a starting agent may call itself a mere restart (R2) where no guard can say so: the group was running
   * here under this site's certificate when the last process ended, and one of the machines has not been booted since.
   */
  ranInBoot(site: SiteName, bootIds: readonly string[]): boolean {
    const noted = notedBoots(this.#records.getState(runningName(this.#group)));
    return bootIds.some((bootId) => noted.includes(bootId)) && this.read().cert?.holder === site;
  }
}

/** An earlier version noted one. */
function notedBoots(stored: unknown): readonly unknown[] {
  if (typeof stored !== "object" || stored === null) return [];
  if ("bootIds" in stored && Array.isArray(stored.bootIds)) return stored.bootIds;
  return "bootId" in stored ? [stored.bootId] : [];
}
