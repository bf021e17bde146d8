import type { ServerDuplexStream } from "@grpc/grpc-js";
import { LifeboatError } from "../errors.ts";
import { openDuplex } from "./calls.ts";
import type { MessageChannel } from "./channel.ts";
import { callMetadata, type Connection } from "./connection.ts";
import type { GuardOrders as WireOrders, GuardOrders__Output } from "./generated/lifeboat/v1/GuardOrders.ts";
import type { GuardReport as WireReport, GuardReport__Output } from "./generated/lifeboat/v1/GuardReport.ts";
import type { PeerExpectation } from "./identity.ts";
import {
  guardProtocolVersion,
  parseAnswer,
  parsePoll,
  parseProof,
  parseTiming,
  type GuardOrders,
  type GuardReport,
} from "./guard-messages.ts";
import { proto } from "./proto.ts";
import type { RpcService } from "./server.ts";

export interface GuardHandlers {
  /** One guard's stream; returns when it is to end. Errors thrown reach the guard with code, message and hint. */
  connect(channel: MessageChannel<GuardOrders, GuardReport>, options: { signal: AbortSignal }): Promise<void>;
}

/** The Guards service, for `startRpcServer`. `expect` names the role `guard` and the site. */
export function guardService(expect: PeerExpectation, handlers: GuardHandlers): RpcService {
  return {
    definition: proto.Guards.service,
    handlers: (context) => ({
      connect: (call: ServerDuplexStream<GuardReport__Output, WireOrders>) =>
        context.duplex<GuardOrders, GuardReport, WireOrders, GuardReport__Output>(
          call,
          { op: "guards.connect", expect, encode: encodeOrders, decode: decodeReport },
          (channel, options) => handlers.connect(channel, options),
        ),
    }),
  };
}

/** A guard's stream to its site's agent. `version` is given by tests alone. */
export function openGuard(
  connection: Connection,
  version: number = guardProtocolVersion,
): MessageChannel<GuardReport, GuardOrders> {
  const { path, requestSerialize, responseDeserialize } = proto.Guards.service.Connect;
  const call = connection.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, callMetadata());
  return openDuplex<GuardReport, GuardOrders, WireReport, GuardOrders__Output>(call, connection, {
    op: "guards.connect",
    encode: (report) => encodeReport(report, version),
    decode: decodeOrders,
  });
}

function encodeReport({ node, polls, facts }: GuardReport, version: number): WireReport {
  return { version, node, polls: polls.map((poll) => JSON.stringify(poll)), facts };
}

function decodeReport(message: GuardReport__Output): GuardReport {
  if (message.version !== guardProtocolVersion) {
    throw new LifeboatError(
      "PeerVersion",
      `the guard of node ${message.node} speaks version ${message.version} of the guard protocol, this agent ${guardProtocolVersion}`,
      {
        op: "guards.connect",
        hint: "upgrade the older of the two; until then the guard stops the groups of its node when their leases end",
      },
    );
  }
  const { facts } = message;
  return {
    node: message.node,
    polls: message.polls.map(parsePoll),
    facts: {
      latenessMs: facts?.latenessMs ?? 0,
      deadMan: facts?.deadMan ?? false,
      uncutPods: facts?.uncutPods ?? 0,
      unkillable: facts?.unkillable ?? 0,
      runningPods: facts?.runningPods ?? 0,
    },
  };
}

function encodeOrders({ groups, answers, released }: GuardOrders): WireOrders {
  return {
    groups: groups.map(({ name, namespaces, timing, complete }) => ({
      name,
      namespaces: [...namespaces],
      timing: JSON.stringify(timing),
      ...(complete === undefined ? {} : { complete: JSON.stringify(complete) }),
    })),
    answers: answers.map((answer) => JSON.stringify(answer)),
    released: [...released],
  };
}

function decodeOrders(message: GuardOrders__Output): GuardOrders {
  return {
    groups: message.groups.map(({ name, namespaces, timing, complete }) => ({
      name,
      namespaces,
      timing: parseTiming(timing),
      ...(complete === "" ? {} : { complete: parseProof(complete) }),
    })),
    answers: message.answers.map(parseAnswer),
    released: message.released,
  };
}
