import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { LifeboatError } from "../../../src/errors.ts";
import type { MessageChannel } from "../../../src/rpc/channel.ts";
import { callMetadata } from "../../../src/rpc/connection.ts";
import { exchangeService, openExchange, type ExchangeChannel } from "../../../src/rpc/exchange.ts";
import type { GroupsUpdate, PullRequest, PullResponse, ServedKind } from "../../../src/rpc/messages.ts";
import { proto } from "../../../src/rpc/proto.ts";
import { openPull, replicationService, watchGroups } from "../../../src/rpc/replication.ts";
import { fromStatus } from "../../../src/rpc/status.ts";
import { anySite, createPair, dial, eventually, pairName, serve, site, witness } from "./pair.ts";

const signal = new AbortController().signal;
const pair = await createPair();
const east = await pair.certificatesFor(site("east"));
const west = await pair.certificatesFor(site("west"));

type Serve = Parameters<typeof replicationService>[1];

const noGroups: Serve["groups"] = async function* none() {};

const hello: PullRequest = {
  kind: "hello",
  site: "west",
  group: "shop",
  epoch: "1.1",
  position: { ring: "r", seq: 2 ** 53 - 1 },
  creditBytes: 2 ** 40,
  accepts: ["NONE", "ZSTD"],
};

async function first<T>(messages: AsyncIterable<T>): Promise<T> {
  for await (const message of messages) return message;
  throw new Error("the stream ended without a message");
}

describe("the replication service", () => {
  it("carries every kind of message unchanged in both directions", async () => {
    const requests: PullRequest[] = [
      hello,
      { ...hello, position: undefined },
      { kind: "credit", bytes: 5 },
      { kind: "ack", durable: 7, applied: 0 },
      { kind: "check" },
      { kind: "compare", buckets: [0, 1023], entries: [{ key: "/ConfigMap/a/b", hash: "ff" }], last: true },
      { kind: "refuse", epoch: "2.1" },
      { kind: "heartbeat", head: 0 },
    ];
    const responses: PullResponse[] = [
      { kind: "welcome", site: "east", ring: "r", epoch: "1.1", resumed: false, head: 9 },
      {
        kind: "batch",
        epoch: "1.1",
        position: { ring: "r", seq: 2 ** 53 - 1 },
        complete: true,
        answered: false,
        compression: "ZSTD",
        records: Buffer.from("abc"),
      },
      { kind: "digest", purpose: "RESET", seq: 3, buckets: Buffer.alloc(8, 1) },
      { kind: "heartbeat", head: 12 },
    ];
    const received: PullRequest[] = [];
    const pull: Serve["pull"] = async (channel, { signal }) => {
      for (const response of responses) await channel.send(response, { signal });
      for await (const request of channel.receive({ signal })) received.push(request);
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    const channel = openPull(connection);
    for (const request of requests) await channel.send(request, { signal });
    const answered: PullResponse[] = [];
    for await (const response of channel.receive({ signal })) {
      answered.push(response);
      if (answered.length === responses.length) break;
    }
    channel.close();
    await eventually(() => received.length === requests.length);
    expect(received).toEqual(requests);
    expect(answered).toMatchObject(responses);
  });

  it("tells each end who the other is", async () => {
    const pull: Serve["pull"] = async (channel, { signal }) => {
      expect(channel.peer).toEqual(site("west"));
      await channel.send({ kind: "heartbeat", head: 1 }, { signal });
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port, { ...anySite, site: "east" });
    expect(connection.peer).toEqual(site("east"));
    expect(await first(openPull(connection).receive({ signal }))).toMatchObject({ head: 1 });
  });

  it("streams the groups served and ends the call when the reader stops", async () => {
    let stopped = false;
    const kinds: ServedKind[] = [{ group: "example.com", kind: "Widget", versions: ["v2", "v1"] }];
    const told: Parameters<Serve["groups"]>[1][] = [];
    const updates: GroupsUpdate[] = [
      { site: "east", groups: [{ name: "shop", epoch: "1.1", revision: 4 }] },
      { site: "east", groups: [] },
    ];
    const groups: Serve["groups"] = async function* two(_peer, asked, { signal }) {
      told.push(asked);
      signal.addEventListener("abort", () => (stopped = true));
      yield* updates;
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    };
    await using server = await serve(east, [replicationService(anySite, { groups, pull: async () => {} })]);
    using connection = await dial(west, server.port);
    const seen: GroupsUpdate[] = [];
    for await (const update of watchGroups(connection, { site: "west", kinds, kept: ["shop"] }, { signal })) {
      seen.push(update);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual(updates);
    expect(told).toMatchObject([{ kinds, kept: ["shop"] }]);
    await eventually(() => stopped);
  });

  it("carries an error of the handler with code, message and hint, and hides what is not one of ours", async () => {
    const errors: unknown[] = [
      new LifeboatError("FailoverRefused", "epoch 1.1 is old", { hint: "look at ünïcode", retryable: true }),
      new Error("password=hunter2"),
    ];
    const pull: Serve["pull"] = async () => {
      throw errors.shift() as Error;
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    await expect(first(openPull(connection).receive({ signal }))).rejects.toMatchObject({
      code: "FailoverRefused",
      message: "epoch 1.1 is old",
      hint: "look at ünïcode",
      retryable: true,
    });
    const hidden = await first(openPull(connection).receive({ signal })).catch((error: unknown) => error);
    expect(hidden).toMatchObject({ code: "Internal" });
    expect(String(hidden)).not.toContain("hunter2");
  });

  it("refuses a hello in the name of another site", async () => {
    const pull: Serve["pull"] = async (channel, { signal }) => {
      await first(channel.receive({ signal }));
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    const channel = openPull(connection);
    await channel.send({ ...hello, site: "north" }, { signal });
    await expect(first(channel.receive({ signal }))).rejects.toMatchObject({ code: "PeerCertificate" });
  });

  it("refuses a caller of another protocol version with PeerVersion", async () => {
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull: async () => {} })]);
    using connection = await dial(west, server.port);
    for (const version of [0, 99]) {
      const { path, requestSerialize, responseDeserialize } = proto.Replication.service.Pull;
      const call = connection.client.makeBidiStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        callMetadata(version),
      );
      const error = await new Promise((resolve) => {
        call.on("error", resolve);
        call.resume();
      });
      expect(fromStatus(error, { op: "test" })).toMatchObject({
        code: "PeerVersion",
        message: `the caller speaks protocol version ${version}, this peer 1 to 1`,
      });
    }
  });

  it("makes a fast sender wait for a reader that stopped, and delivers all in order afterwards", async () => {
    const total = 400;
    let sent = 0;
    const records = Buffer.alloc(64 * 1024, 7);
    const pull: Serve["pull"] = async (channel, { signal }) => {
      for (; sent < total; sent++) {
        await channel.send(
          {
            kind: "batch",
            epoch: "1.1",
            position: { ring: "r", seq: sent },
            complete: false,
            answered: false,
            compression: "NONE",
            records,
          },
          { signal },
        );
      }
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    const channel = openPull(connection);
    await sleep(700);
    const stalledAt = sent;
    await sleep(300);
    expect(sent).toBe(stalledAt);
    expect(stalledAt).toBeGreaterThan(64);
    expect(stalledAt).toBeLessThan(300);
    const seqs: number[] = [];
    for await (const message of channel.receive({ signal })) {
      if (message.kind === "batch") seqs.push(message.position.seq);
    }
    expect(seqs).toEqual(Array.from({ length: total }, (_, seq) => seq));
  });

  it("aborts the handler when the caller goes away", async () => {
    let reason: unknown;
    const pull: Serve["pull"] = async (channel, { signal }) => {
      signal.addEventListener("abort", () => (reason = signal.reason));
      await channel.send({ kind: "heartbeat", head: 0 }, { signal });
      for await (const _ of channel.receive({ signal }));
    };
    await using server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    const channel = openPull(connection);
    await first(channel.receive({ signal }));
    channel.close(new Error("enough"));
    await eventually(() => reason !== undefined);
    expect(reason).toMatchObject({ code: "PeerUnreachable" });
  });

  it("ends streams with a retryable error when the server closes", async () => {
    const pull: Serve["pull"] = async (channel, { signal }) => {
      await channel.send({ kind: "heartbeat", head: 0 }, { signal });
      for await (const _ of channel.receive({ signal }));
    };
    const server = await serve(east, [replicationService(anySite, { groups: noGroups, pull })]);
    using connection = await dial(west, server.port);
    const channel: MessageChannel<PullRequest, PullResponse> = openPull(connection);
    const messages = channel.receive({ signal });
    await messages.next();
    const startMs = performance.now();
    await Promise.all([
      expect(messages.next()).rejects.toMatchObject({
        code: "PeerUnreachable",
        message: "the peer is shutting down",
        retryable: true,
      }),
      server.close({ deadlineMs: 1000 }),
    ]);
    expect(performance.now() - startMs).toBeLessThan(1500);
  });
});

describe("the exchange service", () => {
  const echo = async (channel: ExchangeChannel, { signal }: { signal: AbortSignal }) => {
    for await (const envelope of channel.receive({ signal })) {
      await channel.send({ ...envelope, from: "" }, { signal });
    }
  };

  it("carries envelopes between a site and the witness", async () => {
    const expectSites = { pair: pairName, roles: ["site"] } as const;
    const certificates = await pair.certificatesFor(witness);
    await using server = await serve(certificates, [exchangeService(expectSites, { connect: echo })]);
    using connection = await dial(west, server.port, { pair: pairName, roles: ["witness"] });
    const channel = openExchange(connection);
    const messages = [
      { group: "shop", payload: '{"kind":"renew","seq":1}' },
      { group: "", payload: "{}" },
    ];
    await channel.send({ from: "west", incarnation: 12, messages }, { signal });
    expect(await first(channel.receive({ signal }))).toEqual({ from: "", incarnation: 12, messages });
    channel.close();
  });

  it("refuses an envelope in the name of another site, at either end", async () => {
    await using server = await serve(east, [exchangeService(anySite, { connect: echo })]);
    using connection = await dial(west, server.port);
    const liar = openExchange(connection);
    await liar.send({ from: "east", incarnation: 1, messages: [] }, { signal });
    await expect(first(liar.receive({ signal }))).rejects.toMatchObject({ code: "PeerCertificate" });
    // The echo above answers in the witness's name with a site's certificate.
    const honest = openExchange(connection);
    await honest.send({ from: "west", incarnation: 1, messages: [] }, { signal });
    await expect(first(honest.receive({ signal }))).rejects.toMatchObject({ code: "PeerCertificate" });
  });

  it("lets only the expected roles talk", async () => {
    const operator = await pair.certificatesFor({ pair: pairName, role: "operator" });
    await using server = await serve(east, [exchangeService(anySite, { connect: echo })]);
    using connection = await dial(operator, server.port);
    await expect(first(openExchange(connection).receive({ signal }))).rejects.toMatchObject({
      code: "PeerCertificate",
      message: expect.stringContaining("expected role site"),
    });
  });
});
