/** Machines with drifting clocks that can stand still, and processes that can be killed or paused. */
import type { Queue } from "./queue.ts";

/** A monotonic clock: real time at a rate, except while its machine is frozen. */
export class Clock {
  private readonly rate: number;
  private baseReal: number;
  private baseLocal: number;
  frozen = false;

  constructor(rate: number, startLocal: number) {
    this.rate = rate;
    this.baseReal = 0;
    this.baseLocal = startLocal;
  }

  now(real: number): number {
    return this.frozen ? this.baseLocal : this.baseLocal + (real - this.baseReal) * this.rate;
  }

  /** Real time at which this clock will show `local`, if it does not stop. */
  realAt(local: number, real: number): number {
    return real + Math.max(0, local - this.now(real)) / this.rate;
  }

  freeze(real: number): void {
    this.baseLocal = this.now(real);
    this.baseReal = real;
    this.frozen = true;
  }

  thaw(real: number): void {
    this.baseReal = real;
    this.frozen = false;
  }
}

export class Machine {
  readonly name: string;
  readonly clock: Clock;
  up = true;
  boots = 0;
  readonly processes: Process[] = [];

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.clock = clock;
  }
}

/**
 * A process: work for it waits while it is paused or its machine is frozen, and is lost when it dies. `life` counts its
 * starts, so that what belongs to a former life is recognised.
 */
export class Process {
  readonly name: string;
  readonly machine: Machine;
  private readonly queue: Queue;
  private readonly onWake: () => void;
  alive = true;
  paused = false;
  life = 0;
  private waiting: (() => void)[] = [];
  private wakeAt = Infinity;

  constructor(name: string, machine: Machine, queue: Queue, onWake: () => void) {
    this.name = name;
    this.machine = machine;
    this.queue = queue;
    this.onWake = onWake;
    machine.processes.push(this);
  }

  get running(): boolean {
    return this.alive && !this.paused && this.machine.up && !this.machine.clock.frozen;
  }

  /** Runs now, later when it is paused, never when it dies first. */
  deliver(work: () => void): void {
    if (!this.alive || !this.machine.up) return;
    if (this.running) work();
    else this.waiting.push(work);
  }

  /** Wakes at this real time at the latest; an earlier wake-up replaces a later one. */
  wake(at: number): void {
    if (at >= this.wakeAt) return;
    this.wakeAt = at;
    const { life } = this;
    this.queue.push(at, () => {
      if (this.life !== life || this.wakeAt !== at) return;
      this.wakeAt = Infinity;
      this.deliver(this.onWake);
    });
  }

  kill(): void {
    this.alive = false;
    this.paused = false;
    this.waiting = [];
    this.wakeAt = Infinity;
    this.life += 1;
  }

  start(): void {
    this.alive = true;
    this.life += 1;
    this.wakeAt = Infinity;
  }

  /** After a pause or a thaw: everything that waited, then its timers. */
  resume(): void {
    if (!this.running) return;
    const work = this.waiting;
    this.waiting = [];
    for (const item of work) this.deliver(item);
    this.deliver(this.onWake);
  }
}
