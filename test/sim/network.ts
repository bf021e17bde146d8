/** The three links between two sites and the witness: each direction can be cut, slow or lossy. */
import type { Random } from "./random.ts";
import type { World } from "./world.ts";

export const ends = ["east", "west", "witness"] as const;
export type End = (typeof ends)[number];

/** Any direction between two of them. */
export function drawLink(random: Random): { from: End; to: End } {
  const from = random.pick(ends);
  return { from, to: random.pick(ends.filter((end) => end !== from) as [End]) };
}

interface Direction {
  cuts: number;
  cutsSeen: number;
  extraMs: number;
  loss: number;
}

export class Network {
  private readonly world: World;
  private readonly directions = new Map<string, Direction>();

  constructor(world: World) {
    this.world = world;
    for (const from of ends) {
      for (const to of ends)
        if (from !== to) this.directions.set(`${from}>${to}`, { cuts: 0, cutsSeen: 0, extraMs: 0, loss: 0 });
    }
  }

  direction(from: End, to: End): Direction {
    const found = this.directions.get(`${from}>${to}`);
    if (found === undefined) throw new Error(`no link ${from}>${to}`);
    return found;
  }

  isUp(from: End, to: End): boolean {
    return this.direction(from, to).cuts === 0;
  }

  bothWays(a: End, b: End): boolean {
    return this.isUp(a, b) && this.isUp(b, a);
  }

  /** How often the link of this site to the witness has been cut so far. */
  cutsSeen(site: End): number {
    return this.direction(site, "witness").cutsSeen + this.direction("witness", site).cutsSeen;
  }

  cut(from: End, to: End): void {
    const direction = this.direction(from, to);
    direction.cuts += 1;
    direction.cutsSeen += 1;
  }

  /** Delivers after a delay, unless the direction is or becomes cut, or the message is lost. */
  send(from: End, to: End, deliver: () => void): void {
    const { world } = this;
    const direction = this.direction(from, to);
    if (direction.cuts > 0 || world.random.chance(direction.loss)) return;
    const base = world.extremal ? world.random.pick([1, 1, world.timing.roundTripMs / 2]) : world.random.between(1, 20);
    const extra = direction.extraMs === 0 ? 0 : world.random.between(direction.extraMs / 2, direction.extraMs);
    world.after(base + extra, () => {
      if (direction.cuts === 0) deliver();
    });
  }

  heal(): void {
    for (const direction of this.directions.values()) {
      direction.cuts = 0;
      direction.extraMs = 0;
      direction.loss = 0;
    }
  }
}
