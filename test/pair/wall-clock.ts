/**
 * Preloaded (`--import`) into a process whose wall clock is to jump: SIGUSR2 sets it an hour forward, one more an hour
 * back, a third one right. It stands in for what nobody can do to one process of a machine; the monotonic clock and
 * what OpenSSL thinks of certificates stay.
 */
const hourMs = 3_600_000;
const offsetsMs = [0, hourMs, -hourMs];
let at = 0;

const RealDate = Date;
const nowMs = (): number => RealDate.now() + (offsetsMs[at] ?? 0);

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: unknown[], self) => {
    return Reflect.construct(target, args.length === 0 ? [nowMs()] : args, self) as Date;
  },
  apply: () => new RealDate(nowMs()).toString(),
  get: (target, name) => (name === "now" ? nowMs : (Reflect.get(target, name) as unknown)),
});

process.on("SIGUSR2", () => {
  at = (at + 1) % offsetsMs.length;
});
