import { LifeboatError } from "../../src/errors.ts";
import type { Api } from "./api.ts";
import type { Authority } from "./certificates.ts";
import { destroyBed } from "./cleanup.ts";
import { run } from "./command.ts";
import { BedFaults } from "./faults/faults.ts";
import type { Faults } from "./faults/faults.ts";
import type { Isolation } from "./options.ts";
import { holderOf, placeAt } from "./places.ts";
import type { Place, SpawnOptions } from "./places.ts";
import type { BedProcess } from "./processes.ts";
import { saveRecord } from "./record.ts";
import { addressesOf, adminApi, credentialsOf, makePlaces, siteView, startPrograms } from "./site.ts";
import type { BootUnit, Site, SiteContext, SitePlaces } from "./site.ts";

export interface Bed {
  readonly name: string;
  /** Short and unique on the machine; part of the names of its cgroups. */
  readonly id: string;
  readonly dir: string;
  readonly isolation: Isolation;
  readonly sites: ReadonlyMap<string, Site>;
  /** How long the sites took to start, building programs not included. */
  readonly startMs: number;
  /** Address at which the witness listens. */
  readonly witnessAddress: string;
  /** The site of that name; throws NotFound. */
  site(name: string): Site;
  /** Starts a program at the witness's place; it is then `witness/name` for faults. */
  spawnWitness(name: string, argv: readonly string[], options?: SpawnOptions): BedProcess;
  /** Runs kubectl as administrator of a site. Returns its stdout; throws ProgramFailed with its stderr. */
  kubectl(
    site: string,
    args: readonly string[],
    options?: { readonly input?: string; readonly limitMs?: number },
  ): Promise<string>;
  readonly faults: Faults;
  /** Leaves the bed running when this process ends. */
  release(): Promise<void>;
  /** Ends and removes everything. */
  stop(): Promise<void>;
}

/** A site of this process's knowledge: what does not change, and the places of its present life. */
interface Member {
  readonly site: Site;
  readonly api: Api;
  readonly authority: Authority;
  /** What is started before the site's node, by name. */
  readonly units: Map<string, BootUnit>;
  places: SitePlaces | undefined;
}

/** kubectl answers at once, or waits as long as its own flags say. */
const kubectlLimitMs = 120_000;

export class RunningBed implements Bed {
  readonly #context: SiteContext;
  readonly #witness: Place;
  readonly #members = new Map<string, Member>();
  readonly faults: BedFaults;
  startMs = 0;

  constructor(context: SiteContext, witness: Place) {
    this.#context = context;
    this.#witness = witness;
    this.faults = new BedFaults({
      context,
      places: async () => this.#places(),
      forget: (site) => (this.#member(site).places = undefined),
      startSite: async (site) => this.startSite(site),
    });
  }

  async #places(): Promise<ReadonlyMap<string, Place>> {
    const sites = [...this.#members.values()].flatMap(({ places }) =>
      places === undefined ? [] : [places.site, places.agent],
    );
    return new Map([this.#witness, ...sites].map((place) => [place.name, place]));
  }

  get name(): string {
    return this.#context.record.name;
  }

  get id(): string {
    return this.#context.record.id;
  }

  get dir(): string {
    return this.#context.record.dir;
  }

  get isolation(): Isolation {
    return this.#context.record.isolation;
  }

  get witnessAddress(): string {
    return this.#witness.address;
  }

  get sites(): ReadonlyMap<string, Site> {
    return new Map(
      this.#context.record.sites.flatMap(({ name }) => {
        const member = this.#members.get(name);
        return member === undefined ? [] : [[name, member.site] as const];
      }),
    );
  }

  site(name: string): Site {
    return this.#member(name).site;
  }

  #member(name: string): Member {
    const member = this.#members.get(name);
    if (member !== undefined) return member;
    throw new LifeboatError("NotFound", `there is no site ${name}`, {
      hint: `sites: ${[...this.#members.keys()].join(", ")}`,
    });
  }

  /** Starts a site, for the first time or again; its data are kept. */
  async startSite(name: string): Promise<void> {
    const [places, member] = await Promise.all([makePlaces(this.#context, name), this.#enrol(name)]);
    member.places = places;
    await this.faults.reapply(name);
    for (const { name: unit, argv, options } of member.units.values()) member.site.spawn(unit, argv, options);
    await startPrograms(this.#context, name, places, member.authority, member.api);
  }

  /** Takes over a site that another process started. */
  async adoptSite(name: string): Promise<void> {
    const member = await this.#enrol(name);
    const { record, wire } = this.#context;
    const address = addressesOf(record, name);
    const at = async (place: string, where: string): Promise<Place> =>
      placeAt({
        bedDir: record.dir,
        name: place,
        address: where,
        ...(wire === undefined ? {} : { holder: await holderOf(record.dir, place) }),
      });
    try {
      member.places = { site: await at(name, address.site), agent: await at(`${name}/agent`, address.agent) };
    } catch (error) {
      if (!(error instanceof LifeboatError && error.code === "NotFound")) throw error;
    }
  }

  async #enrol(name: string): Promise<Member> {
    const known = this.#members.get(name);
    if (known !== undefined) return known;
    const { record } = this.#context;
    const authority = await credentialsOf(record, name);
    const api = await adminApi(record, name, authority);
    const units = new Map<string, BootUnit>();
    const presentPlaces = (): SitePlaces => {
      if (member.places !== undefined) return member.places;
      throw new LifeboatError("NotFound", `${name} is down`, { hint: `restore ${name} first` });
    };
    const member: Member = {
      api,
      authority,
      units,
      places: undefined,
      site: siteView(record, name, authority, api, presentPlaces, units),
    };
    this.#members.set(name, member);
    return member;
  }

  spawnWitness(name: string, argv: readonly string[], options: SpawnOptions = {}): BedProcess {
    return this.#witness.spawn(`witness/${name}`, argv, options);
  }

  async kubectl(
    site: string,
    args: readonly string[],
    options: { readonly input?: string; readonly limitMs?: number } = {},
  ): Promise<string> {
    const { kubeconfigPath } = this.site(site);
    const program = this.#context.record.programs["kubectl"] ?? "kubectl";
    return run([program, `--kubeconfig=${kubeconfigPath}`, ...args], { limitMs: kubectlLimitMs, ...options });
  }

  async release(): Promise<void> {
    await saveRecord({ ...this.#context.record, owner: null });
  }

  async stop(): Promise<void> {
    for (const member of this.#members.values()) member.api.close();
    await destroyBed(this.#context.record);
  }
}
