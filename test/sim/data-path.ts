/** The group's data at one site: a hash over every write, copied to the standby, sealed and compared. */
import type { Cert } from "../../src/failover/epoch.ts";
import type { AgentEvent, AgentState } from "../../src/failover/agent-state.ts";
import { isNewer, sameCert } from "../../src/failover/epoch.ts";
import type { Seal } from "../../src/failover/messages.ts";
import type { Site } from "./site.ts";
import type { World } from "./world.ts";

interface Copy {
  /** Number and hash of the writes. */
  writes: number;
  hash: number;
  /** Certificate under which the last applied change was made. */
  cert: Cert | null;
  /** Something was written here that the peer may not have. */
  dirty: boolean;
  /** The same, but kept in a snapshot. */
  saved: boolean;
  following: boolean;
  /** Than the site's record, which was set back. */
  knowsMore: boolean;
  synced: boolean;
  /** When it last held everything, and under which certificate. */
  caughtUp: { readonly t: number; readonly cert: Cert | null } | null;
}

const PULL_MS = 500;
const WRITE_MS = 500;

export class DataPath {
  private readonly site: Site;
  private readonly world: World;
  readonly copies: Copy[] = [];
  /** Mutant of the host: the epoch is looked at after the apply. */
  checksEpoch = true;

  constructor(site: Site) {
    this.site = site;
    this.world = site.world;
    for (const g of this.world.groups) {
      this.copies[g] = {
        writes: 0,
        hash: 0,
        cert: null,
        dirty: false,
        saved: false,
        following: false,
        knowsMore: false,
        synced: false,
        caughtUp: null,
      };
    }
  }

  begin(): void {
    const { world } = this;
    world.every(PULL_MS, () => {
      for (const g of world.groups) this.pull(g);
    });
    world.every(WRITE_MS, () => {
      for (const g of world.groups) this.write(g);
    });
  }

  copy(g: number): Copy {
    const copy = this.copies[g];
    if (copy === undefined) throw new Error(`no group ${g}`);
    return copy;
  }

  hash(g: number): string {
    const { writes, hash } = this.copy(g);
    return `${writes}/${hash}`;
  }

  /** Before anything is started the journal is raised to the epoch under which that writes. */
  start(g: number, cert: Cert): void {
    const copy = this.copy(g);
    if (isNewer(cert, copy.cert)) copy.cert = cert;
  }

  /** The application writes while any of its pods runs. */
  private write(g: number): void {
    const running = this.site.nodes.filter((node) => node.isRunning(g));
    if (running.length === 0) return;
    // What promise 1 excludes (a machine that stood still together with its guard) is excluded here as well.
    if (running.every((node) => node.pod(g).excusedUntil >= this.world.t)) return;
    const copy = this.copy(g);
    copy.writes += 1;
    copy.hash =
      (Math.imul(copy.hash ^ (copy.writes * 2654435761), 1597334677) + (this.site.key === "east" ? 1 : 2)) | 0;
    copy.dirty = true;
    copy.saved = false;
    copy.following = false;
  }

  save(g: number, done: () => void): void {
    // A snapshot of what is still being written would miss the rest.
    this.world.after(this.world.random.between(100, 800), () => {
      if (this.site.nodes.some((node) => node.pod(g).running && node.machine.up)) {
        this.save(g, done);
        return;
      }
      this.copy(g).saved = true;
      done();
    });
  }

  /** What a process that begins to lead finds on the disk; told only for the certificate that is in force. */
  kept(g: number, cert: Cert | null): AgentEvent | null {
    const { writes, caughtUp } = this.copy(g);
    if (caughtUp === null || cert === null || cert.holder === this.site.key || !sameCert(caughtUp.cert, cert))
      return null;
    const contactAgoMs = this.world.t - caughtUp.t;
    return { type: "data", readiness: "Ready", lagMs: 200, recoveryPoint: `${writes}`, contactAgoMs };
  }

  /** The journal is on the agent's disk: it knows that this site ran what the record has no certificate of any more. */
  recordSetBack(g: number, cert: Cert | null): void {
    const copy = this.copy(g);
    if (copy.cert?.holder === this.site.key && isNewer(copy.cert, cert)) copy.knowsMore = true;
  }

  /** By what the journal says the objects here are, not by the record: what is this site's own is kept first. */
  follow(g: number): void {
    const copy = this.copy(g);
    if (!copy.knowsMore) {
      copy.following = true;
      return;
    }
    this.save(g, () => {
      copy.knowsMore = false;
      copy.following = true;
    });
  }

  /** The standby takes what the holder has; never from an older epoch, never over what is not saved. */
  private pull(g: number): void {
    const { world, site } = this;
    const copy = this.copy(g);
    const own = site.leader();
    const state = own?.states[g];
    if (own === undefined || !own.process.running) return;
    if (!state) {
      this.beginAgain(g);
      return;
    }
    const holds = state.record.cert !== null && state.record.cert.holder === site.key;
    if (holds || (state.record.cert === null && site.isSource(g))) return;
    if (site.nodes.some((node) => node.isRunning(g))) return;
    const peer = world.peerOf(site.key);
    const source = peer.leader();
    const theirs = source?.states[g];
    if (!source || !theirs || !source.process.running || !world.network.bothWays(site.key, peer.key)) return;
    if (!isServed(theirs) || !peer.apiUp) return;
    // A copy that was never anything else is followed from the start.
    if (!copy.following && (state.record.cert !== null || copy.knowsMore)) return;
    if (isNewer(state.record.cert, theirs.record.cert)) return;
    this.takeEnd(g, theirs.phase.type !== "Quiescing");
    this.take(g, peer.data.copy(g), theirs.record.cert);
    copy.caughtUp = { t: world.t, cert: theirs.record.cert };
    own.feed(g, { type: "data", readiness: "Ready", lagMs: 200, recoveryPoint: `${copy.writes}` });
  }

  /** The peer serves a group that this site has forgotten, or never knew. */
  private beginAgain(g: number): void {
    const { world, site } = this;
    const peer = world.peerOf(site.key);
    const source = peer.leader();
    // A former leader that has stood still shows what is long over.
    if (source === undefined || source !== peer.leaseHolder || !source.process.running) return;
    const theirs = source.states[g];
    if (!site.apiUp || site.present[g] === true || !theirs || theirs.phase.type === "Quiescing") return;
    // To a standby that has nothing of the group, a site serves what it ran until its lease ended.
    const isStopped = theirs.phase.type === "Fenced" || theirs.phase.type === "Acquiring";
    const ran = theirs.record.cert?.holder === peer.key;
    if (!isServed(theirs) && !(isStopped && ran)) return;
    if (!world.network.bothWays(site.key, peer.key)) return;
    if (peer.deleted[g] === true) {
      // All that comes is the end: there is nothing here to end.
      peer.setEnding(g, true);
      return;
    }
    this.copy(g).following = false;
    site.desired[g] = false;
    site.beginGroup(g, false);
  }

  /** The group's object is the first record of its stream: its end comes along, and so does its return. */
  private takeEnd(g: number, mayEnd: boolean): void {
    const { world, site } = this;
    const peer = world.peerOf(site.key);
    const deleted = peer.deleted[g] === true;
    if (deleted && !mayEnd) return;
    site.setEnding(g, deleted);
    if (!deleted) return;
    world.after(world.random.between(1, 300), () => {
      if (peer.deleted[g] === true && site.ending[g] === true) peer.setEnding(g, true);
    });
  }

  private take(g: number, from: Copy, cert: Cert | null): void {
    const copy = this.copy(g);
    // The receiver's own gate, with the data and not with the record, which may come back from a backup.
    if (this.checksEpoch && isNewer(copy.cert, cert)) return;
    // Everything written there is here now as well.
    from.dirty = false;
    if (copy.writes === from.writes && copy.hash === from.hash) {
      copy.dirty = false;
      return;
    }
    this.world.oracle.onApply(g, this.site.key, copy, cert);
    copy.writes = from.writes;
    copy.hash = from.hash;
    copy.cert = cert;
    copy.dirty = false;
    copy.synced = true;
  }

  /** Pulls the rest from the source until it is equal to the seal, or for as long as the source can be reached. */
  applySeal(g: number, seal: Seal, done: (hash: string) => void): void {
    const { world, site } = this;
    const tries = (left: number): void => {
      const peer = world.peerOf(site.key);
      if (world.network.bothWays(site.key, peer.key) && peer.leader()?.process.running === true) {
        if (peer.data.hash(g) === seal.objectsHash) this.take(g, peer.data.copy(g), seal.cert);
        done(this.hash(g));
      } else if (left > 0) world.after(PULL_MS, () => tries(left - 1));
      else done(this.hash(g));
    };
    world.after(world.random.between(50, 500), () => tries(20));
  }
}

function isServed({ phase }: AgentState): boolean {
  return phase.type === "Active" || phase.type === "Quiescing" || phase.type === "Adopting";
}
