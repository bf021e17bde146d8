import { selectorMatches } from "../config/match.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { ObjectFacts } from "./facts.ts";

/** An object that may belong to the group, as membership sees it. */
export interface Candidate {
  readonly key: ObjectKey;
  /** `""` for a cluster-scoped object. */
  readonly namespace: string;
  /** Taken for itself: its namespace and its labels are selected. */
  readonly root: boolean;
  /** An owner that makes the object anew where it is missing. */
  readonly owner: ObjectKey | undefined;
  readonly facts: ObjectFacts;
}

/** Keys that joined and left the group with one step. */
export interface MembershipChange {
  readonly joined: readonly ObjectKey[];
  readonly left: readonly ObjectKey[];
}

export interface MembershipPolicy {
  /** All objects of the namespaces are roots: references within them add nothing. */
  readonly whole: boolean;
  /** What roots need in their namespaces comes along. What they need of the cluster always does. */
  readonly references: boolean;
}

interface Node extends Candidate {
  /** Reached from a root. */
  member: boolean;
  /** Member, and not left to its owner: the object travels. */
  travels: boolean;
}

/**
 * Which objects belong to a group: the roots, what they need, and what serves them, closed over. Pure bookkeeping in
 * memory. Growth shows at once; what a change may have made superfluous is found by {@link settle}, which looks at
 * everything once, so that a burst of changes costs one look.
 */
export class Membership {
  readonly #policy: MembershipPolicy;
  readonly #nodes = new Map<ObjectKey, Node>();
  /** Keys that a member needs, whether or not such an object is known. */
  readonly #wanted = new Set<ObjectKey>();
  readonly #servers = new Index<Node>();
  readonly #owned = new Index<Node>();
  readonly #namespaceServers = new Index<Node>();
  /** By namespace: candidates that select pods, and that make them. */
  readonly #selectors = new Index<Node>();
  readonly #workloads = new Index<Node>();
  readonly #namespaces = new Index<Node>();
  readonly #takenNamespaces = new Set<string>();
  #unsettled = false;
  #joined: ObjectKey[] = [];
  #left: ObjectKey[] = [];

  constructor(policy: MembershipPolicy) {
    this.#policy = policy;
  }

  /** Something may have become superfluous: {@link settle} should be called before long. */
  get unsettled(): boolean {
    return this.#unsettled;
  }

  /** Whether the object travels. */
  has(key: ObjectKey): boolean {
    return this.#nodes.get(key)?.travels ?? false;
  }

  /** Whether anything is known of the object. */
  knows(key: ObjectKey): boolean {
    return this.#nodes.has(key);
  }

  /** The namespaces that the group takes. Candidates of others must not be set, and are dropped when one goes. */
  takeNamespace(namespace: string): MembershipChange {
    this.#takenNamespaces.add(namespace);
    for (const node of this.#namespaceServers.of(namespace)) if (this.#servesTakenNamespace(node)) this.#join(node);
    return this.#change();
  }

  leaveNamespace(namespace: string): MembershipChange {
    this.#takenNamespaces.delete(namespace);
    for (const node of this.#namespaces.of(namespace)) this.#remove(node);
    this.#unsettled = true;
    return this.#change();
  }

  /** Adds a candidate or replaces what is known of it. */
  set(candidate: Candidate): MembershipChange {
    const old = this.#nodes.get(candidate.key);
    if (old !== undefined && sameCandidate(old, candidate)) return noChange;
    const node: Node = { ...candidate, member: false, travels: false };
    if (old !== undefined) {
      this.#unlink(old);
      if (old.member) this.#unsettled = true;
      node.travels = old.travels;
    }
    this.#link(node);
    if (old?.member === true || this.#isReached(node)) this.#join(node);
    return this.#change();
  }

  delete(key: ObjectKey): MembershipChange {
    const node = this.#nodes.get(key);
    if (node !== undefined) this.#remove(node);
    return this.#change();
  }

  /** Decides everything anew from the roots. */
  settle(): MembershipChange {
    this.#unsettled = false;
    this.#wanted.clear();
    for (const node of this.#nodes.values()) node.member = false;
    for (const node of this.#nodes.values()) {
      if (node.root || this.#servesTakenNamespace(node)) this.#join(node);
    }
    for (const node of this.#nodes.values()) this.#mark(node);
    return this.#change();
  }

  /** Objects that travel without being roots. */
  pulledIn(): ObjectKey[] {
    return [...this.#nodes.values()].filter((node) => node.travels && !node.root).map((node) => node.key);
  }

  #change(): MembershipChange {
    if (this.#joined.length === 0 && this.#left.length === 0) return noChange;
    // What came and went again within the step is neither.
    const change = {
      joined: this.#joined.filter((key) => this.has(key)),
      left: this.#left.filter((key) => !this.has(key)),
    };
    this.#joined = [];
    this.#left = [];
    return change;
  }

  /** Makes a node a member, and with it all that follows from it. */
  #join(first: Node): void {
    const waiting = [first];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      if (node.member) continue;
      node.member = true;
      this.#mark(node);
      for (const owned of this.#owned.of(node.key)) this.#mark(owned);
      waiting.push(...this.#followers(node));
    }
  }

  *#followers(node: Node): Generator<Node> {
    yield* this.#serversOf(node.key);
    for (const key of node.facts.clusterNeeds) yield* this.#want(key);
    if (this.#policy.whole || !this.#policy.references) return;
    for (const key of node.facts.needs) yield* this.#want(key);
    const { podLabels } = node.facts;
    if (podLabels === undefined) return;
    for (const service of this.#selectors.of(node.namespace)) {
      if (selectorMatches(service.facts.podSelector, podLabels)) yield service;
    }
  }

  *#want(key: ObjectKey): Generator<Node> {
    if (this.#wanted.has(key)) return;
    this.#wanted.add(key);
    const node = this.#nodes.get(key);
    if (node !== undefined) yield node;
    yield* this.#serversOf(key);
  }

  *#serversOf(key: ObjectKey): Generator<Node> {
    for (const server of this.#servers.of(key)) if (this.#mayServe(server)) yield server;
  }

  /** Within a namespace only references pull; a cluster-scoped object that serves a member always comes along. */
  #mayServe(node: Node): boolean {
    return node.namespace === "" || (this.#policy.references && !this.#policy.whole);
  }

  #isReached(node: Node): boolean {
    if (node.root || this.#wanted.has(node.key) || this.#servesTakenNamespace(node)) return true;
    if (!this.#mayServe(node)) return false;
    if (node.facts.serves.some((key) => this.#wanted.has(key) || this.#nodes.get(key)?.member === true)) return true;
    const { podSelector } = node.facts;
    if (podSelector === undefined) return false;
    for (const workload of this.#workloads.of(node.namespace)) {
      if (workload.member && selectorMatches(podSelector, workload.facts.podLabels)) return true;
    }
    return false;
  }

  #servesTakenNamespace(node: Node): boolean {
    return (
      this.#policy.whole &&
      node.namespace === "" &&
      node.facts.servesNamespaces.some((namespace) => this.#takenNamespaces.has(namespace))
    );
  }

  /** Brings `travels` in line with membership, and notes the difference. */
  #mark(node: Node): void {
    const left = node.owner !== undefined && (this.#policy.whole || this.#nodes.get(node.owner)?.member === true);
    const travels = node.member && !left;
    if (travels === node.travels) return;
    node.travels = travels;
    (travels ? this.#joined : this.#left).push(node.key);
  }

  #remove(node: Node): void {
    this.#unlink(node);
    if (node.travels) this.#left.push(node.key);
    if (!node.member) return;
    const { needs, clusterNeeds, podLabels } = node.facts;
    const followed =
      clusterNeeds.length > 0 ||
      (!this.#policy.whole && (needs.length > 0 || podLabels !== undefined)) ||
      this.#servers.has(node.key) ||
      this.#owned.has(node.key);
    if (followed) this.#unsettled = true;
  }

  #link(node: Node): void {
    this.#nodes.set(node.key, node);
    for (const [index, key] of this.#places(node)) index.add(key, node);
  }

  #unlink(node: Node): void {
    this.#nodes.delete(node.key);
    for (const [index, key] of this.#places(node)) index.delete(key, node);
  }

  *#places(node: Node): Generator<[Index<Node>, string]> {
    const { facts, namespace } = node;
    if (namespace !== "") yield [this.#namespaces, namespace];
    if (node.owner !== undefined && !this.#policy.whole) yield [this.#owned, node.owner];
    for (const key of facts.serves) yield [this.#servers, key];
    for (const name of facts.servesNamespaces) yield [this.#namespaceServers, name];
    if (this.#policy.whole) return;
    if (facts.podSelector !== undefined) yield [this.#selectors, namespace];
    if (facts.podLabels !== undefined) yield [this.#workloads, namespace];
  }
}

const noChange: MembershipChange = { joined: [], left: [] };

/** Sets by key; a key without members takes no memory. */
class Index<T> {
  readonly #sets = new Map<string, Set<T>>();

  of(key: string): Iterable<T> {
    return this.#sets.get(key) ?? [];
  }

  has(key: string): boolean {
    return this.#sets.has(key);
  }

  add(key: string, value: T): void {
    const set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, new Set([value]));
    else set.add(value);
  }

  delete(key: string, value: T): void {
    const set = this.#sets.get(key);
    if (set?.delete(value) === true && set.size === 0) this.#sets.delete(key);
  }
}

function sameCandidate(a: Candidate, b: Candidate): boolean {
  return a.root === b.root && a.owner === b.owner && (a.facts === b.facts || sameFacts(a.facts, b.facts));
}

function sameFacts(a: ObjectFacts, b: ObjectFacts): boolean {
  return (
    sameList(a.needs, b.needs) &&
    sameList(a.clusterNeeds, b.clusterNeeds) &&
    sameList(a.serves, b.serves) &&
    sameList(a.servesNamespaces, b.servesNamespaces) &&
    JSON.stringify(a.podSelector) === JSON.stringify(b.podSelector) &&
    JSON.stringify(a.podLabels) === JSON.stringify(b.podLabels)
  );
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((item, i) => item === b[i]));
}
