import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { exchangeService, openExchange, type ExchangeHandlers } from "../../../src/rpc/exchange.ts";
import { Link, type LinkOptions, type LinkState } from "../../../src/rpc/link.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { anySite, createPair, eventually, serve, site } from "./pair.ts";
import { startProxy } from "./proxy.ts";

const signal = new AbortController().signal;
const pair = await createPair();
const east = await pair.certificatesFor(site("east"));
const west = await pair.certificatesFor(site("west"));

/** A server whose streams stay open. */
const connectAndStay: ExchangeHandlers["connect"] = async (channel, { signal }) => {
  await channel.send({ from: "east", incarnation: 1, messages: [] }, { signal });
  for await (const _ of channel.receive({ signal }));
};
const services = [exchangeService(anySite, { connect: connectAndStay })];

function openLink(port: number, options: Partial<LinkOptions> = {}): Link & AsyncDisposable {
  const stop = new AbortController();
  const link = new Link({
    address: `127.0.0.1:${port}`,
    certificates: west,
    expect: anySite,
    clock: systemClock,
    random: Math.random,
    log: silentLog,
    ...options,
  });
  const running = link.run({ signal: stop.signal }).catch(() => {});
  return Object.assign(link, {
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error("test is over"));
      await running;
    },
  });
}

describe("a link", () => {
  it("waits for a peer that is not there yet, says why, and connects when it comes", async () => {
    await using proxy = await startProxy(1);
    proxy.mode = "cut";
    await using link = openLink(proxy.port);
    await eventually(() => link.state.kind === "connecting" && link.state.error !== undefined);
    expect(link.state).toMatchObject({ error: { code: "PeerUnreachable" } });
    await using server = await serve(east, services);
    proxy.target = server.port;
    proxy.mode = "pass";
    const connection = await link.ready({ signal });
    expect(connection.peer).toEqual(site("east"));
  });

  it("goes to whichever of several addresses answers, also when that is another one later", async () => {
    await using first = await startProxy(1);
    await using second = await startProxy(1);
    first.mode = "cut";
    await using one = await serve(east, services);
    second.target = one.port;
    second.mode = "pass";
    const address = [`127.0.0.1:${first.port}`, `127.0.0.1:${second.port}`];
    await using link = openLink(0, { address });
    await link.ready({ signal });
    await using another = await serve(east, services);
    first.target = another.port;
    first.mode = "pass";
    second.mode = "cut";
    await eventually(() => link.state.kind === "connecting");
    const connection = await link.ready({ signal });
    expect(connection.peer).toEqual(site("east"));
  });

  it("connects again within 3 s of the restart of a peer, and streams fail at once", async () => {
    const before = await serve(east, services);
    await using link = openLink(before.port);
    const messages = openExchange(await link.ready({ signal })).receive({ signal });
    await messages.next();
    const lost = expect(messages.next()).rejects.toMatchObject({ code: "PeerUnreachable" });
    await before.close({ deadlineMs: 200 });
    await lost;
    await using _after = await serve(east, services, before.port);
    const startMs = performance.now();
    const again = openExchange(await link.ready({ signal })).receive({ signal });
    await again.next();
    expect(performance.now() - startMs).toBeLessThan(3000);
  });

  it("finds a half-open connection within 4 s, at both ends, and the healed path within 3 s", async () => {
    const ended: number[] = [];
    const connect: ExchangeHandlers["connect"] = async (channel, { signal }) => {
      signal.addEventListener("abort", () => ended.push(performance.now()));
      await connectAndStay(channel, { signal });
    };
    await using server = await serve(east, [exchangeService(anySite, { connect })]);
    await using proxy = await startProxy(server.port);
    await using link = openLink(proxy.port);
    const messages = openExchange(await link.ready({ signal })).receive({ signal });
    await messages.next();
    const silentMs = performance.now();
    proxy.mode = "silent";
    await expect(messages.next()).rejects.toMatchObject({ code: "PeerUnreachable" });
    expect(performance.now() - silentMs).toBeLessThan(4500);
    await eventually(() => ended.length > 0);
    expect((ended[0] ?? 0) - silentMs).toBeLessThan(4500);
    // In words for people, without where in the client the time went.
    const said = () => (link.state.kind === "connecting" ? link.state.error?.message : undefined);
    await eventually(() => said() !== undefined);
    expect(said()).toMatch(/^no answer within \d+(\.\d)? s$/);
    proxy.mode = "pass";
    const healedMs = performance.now();
    await openExchange(await link.ready({ signal }))
      .receive({ signal })
      .next();
    expect(performance.now() - healedMs).toBeLessThan(3000);
  });

  it("keeps trying, with its state saying why, while the peer's certificate is wrong", async () => {
    const states: LinkState[] = [];
    await using server = await serve(east, services);
    await using link = openLink(server.port, {
      expect: { ...anySite, site: "north" },
      onChange: (state) => states.push(state),
    });
    await eventually(() => states.length >= 2);
    expect(link.state).toMatchObject({ kind: "connecting", error: { code: "PeerCertificate" } });
  });

  it("stops waiting when told to", async () => {
    await using link = openLink(1);
    const stop = new AbortController();
    const waiting = link.ready({ signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});
