import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { exchangeService, openExchange, type ExchangeChannel } from "../../../src/rpc/exchange.ts";
import { connect } from "../../../src/rpc/connection.ts";
import { issueCertificate } from "../../../src/rpc/pki.ts";
import { Certificates } from "../../../src/rpc/certificates.ts";
import { eventually, pairName, serve, site, validity, witness } from "../rpc/pair.ts";
import { group, Trio } from "./trio.ts";

const signal = new AbortController().signal;

async function dialWitness(trio: Trio, identity: Parameters<typeof issueCertificate>[1]): Promise<ExchangeChannel> {
  const leaf = await issueCertificate(trio.pair.authority, identity, validity);
  const certificates = new Certificates({
    cert: Buffer.from(leaf.cert),
    key: Buffer.from(leaf.key),
    ca: Buffer.from(trio.pair.authority.cert),
  });
  const address = `127.0.0.1:${trio.paths.eastToWitness.port}`;
  const expectWitness = { pair: pairName, roles: ["witness"] as const };
  return openExchange(await connect({ address, certificates, expect: expectWitness }, { signal }));
}

/** A heartbeat as a site sends it. */
function renewOf(name: string, peer: string): string {
  return JSON.stringify({
    type: "Renew",
    group,
    site: name,
    peer,
    incarnation: 1,
    seq: 1,
    cert: null,
    state: "Standby",
    warm: false,
    disarm: "no",
    armed: false,
    ready: "Ready",
    lagMs: 0,
    fenceCap: "api",
    stopBoundMs: 0,
    generation: 0,
    echo: null,
    leaseMs: 5000,
    guardMs: 3300,
    opId: "",
  });
}

async function firstAnswer(channel: ExchangeChannel, limitMs = 1000): Promise<unknown> {
  const timeout = systemClock.sleep(limitMs, { signal }).then(() => "silence");
  const next = channel.receive({ signal }).next();
  return await Promise.race([next.then(({ value }) => value as unknown), timeout]);
}

describe("the witness hears", () => {
  it("a site of its pair about itself", async () => {
    await using trio = await Trio.prepare();
    await trio.startWitness();
    const channel = await dialWitness(trio, site("east"));
    await channel.send(
      { from: "east", incarnation: 1, messages: [{ group, payload: renewOf("east", "west") }] },
      { signal },
    );
    expect(await firstAnswer(channel)).toMatchObject({ from: "", messages: [{ group }] });
    channel.close();
  });

  it("no site about another one, nor a message that is none, and goes on after both", async () => {
    await using trio = await Trio.prepare();
    await trio.startWitness();
    const channel = await dialWitness(trio, site("east"));
    const messages = [
      { group, payload: renewOf("west", "east") },
      { group: "other", payload: renewOf("east", "west") },
      { group, payload: "{}" },
      { group, payload: "no JSON" },
    ];
    await channel.send({ from: "east", incarnation: 1, messages }, { signal });
    expect(await firstAnswer(channel, 300)).toBe("silence");
    const again = await dialWitness(trio, site("east"));
    await again.send(
      { from: "east", incarnation: 1, messages: [{ group, payload: renewOf("east", "west") }] },
      { signal },
    );
    expect(await firstAnswer(again)).toMatchObject({ messages: [{ group }] });
    channel.close();
    again.close();
  });

  it("no envelope in another site's name", async () => {
    await using trio = await Trio.prepare();
    await trio.startWitness();
    const channel = await dialWitness(trio, site("east"));
    await channel.send({ from: "west", incarnation: 1, messages: [] }, { signal });
    await expect(firstAnswer(channel)).rejects.toMatchObject({ code: "PeerCertificate" });
  });

  it("no site of another pair, though the same authority signed its certificate", async () => {
    await using trio = await Trio.prepare();
    await trio.startWitness();
    const channel = await dialWitness(trio, site("east", "other-pair"));
    await expect(firstAnswer(channel)).rejects.toMatchObject({ code: "PeerCertificate" });
  });
});

describe("an agent takes", () => {
  it("no grant from a witness with another certificate, and says so", async () => {
    await using trio = await Trio.prepare();
    trio.sites.east.running = true;
    await trio.startWitness({ identity: { ...witness, pair: "other-pair" } });
    await trio.startAgent("east");
    await eventually(() => trio.agent("east").links.status("west").witness.error !== undefined);
    expect(trio.agent("east").links.status("west").witness.error).toMatchObject({ code: "PeerCertificate" });
    expect(trio.agent("east").runner.snapshot()).toMatchObject({ state: "Adopting", witness: { connected: false } });
    expect(trio.sites.east.running).toBe(true);
  });

  it("no stream from a site that is not its peer", async () => {
    await using trio = await Trio.prepare();
    const agent = await trio.startAgent("east");
    const north = await trio.pair.certificatesFor(site("north"));
    const address = `127.0.0.1:${agent.port}`;
    const connection = await connect(
      { address, certificates: north, expect: { pair: pairName, roles: ["site"] } },
      { signal },
    );
    await expect(firstAnswer(openExchange(connection))).rejects.toMatchObject({ code: "PeerCertificate" });
    connection.close();
  });

  it("no message of its peer that speaks for another site", async () => {
    await using trio = await Trio.prepare();
    const agent = await trio.startAgent("west");
    const east = await trio.pair.certificatesFor(site("east"));
    const received: string[] = [];
    await using server = await serve(east, [
      exchangeService(
        { pair: pairName, roles: ["site"] },
        {
          connect: async (channel, options) => {
            await channel.send(
              { from: "east", incarnation: 1, messages: [{ group, payload: renewOf("north", "west") }] },
              options,
            );
            for await (const { messages } of channel.receive(options)) {
              received.push(...messages.map(({ payload }) => (JSON.parse(payload) as { type: string }).type));
            }
          },
        },
      ),
    ]);
    trio.paths.westToEast.target = server.port;
    await eventually(() => received.includes("Renew"));
    expect(received).not.toContain("RenewAck");
    expect(agent.runner.state.peer).toBeNull();
  });
});
