import { describe, expect, it } from "vitest";
import { LifeboatError } from "../../../src/errors.ts";
import { createLog, safeError } from "../../../src/telemetry/log.ts";

/** What a log writes for these fields, as text and parsed. */
function logged(fields: Record<string, unknown>): { text: string; line: Record<string, unknown> } {
  let text = "";
  const log = createLog({ fields: { site: "east" }, destination: { write: (line) => (text += line) } });
  log.info(fields, "message");
  return { text, line: JSON.parse(text) as Record<string, unknown> };
}

const value = "aHVudGVyMg==";
const secret = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: {
    name: "db",
    annotations: {
      "kubectl.kubernetes.io/last-applied-configuration": `{"kind":"Secret","data":{"password":"${value}"}}`,
    },
  },
  data: { password: value },
  stringData: { plain: value },
  type: "Opaque",
};

describe("a log line", () => {
  it("has a level, a time, the process's fields, the message and the line's fields", () => {
    const { line } = logged({ group: "shop", seq: 3 });
    expect(line).toMatchObject({ level: "info", site: "east", group: "shop", seq: 3, msg: "message" });
    expect(Date.parse(String(line["time"]))).toBeGreaterThan(0);
  });

  it.each([
    ["the object itself", { object: secret }],
    ["in a list", { items: [{ object: secret }] }],
    ["as the line's own fields", { ...secret }],
    ["as JSON text", { body: JSON.stringify(secret) }],
    ["as YAML text", { body: `apiVersion: v1\nkind: Secret\ndata:\n  password: ${value}\n` }],
    ["in an error's message", { error: new Error(`cannot parse ${JSON.stringify(secret)}`) }],
    ["in an error's own fields", { error: Object.assign(new Error("refused"), { response: { body: { secret } } }) }],
    ["in an error's cause", { err: new Error("refused", { cause: new Error(`sent ${JSON.stringify(secret)}`) }) }],
    ["under a credential's name", { token: value, config: { password: value, "client-key-data": value } }],
    ["as bytes", { raw: Buffer.from(value), array: new Uint8Array(Buffer.from(value)) }],
    ["as a header", { header: `Authorization: Bearer ${value}` }],
  ])("never shows a Secret's value: %s", (_how, fields) => {
    const { text } = logged(fields);
    expect(text).not.toContain(value);
    expect(text).not.toContain("hunter2");
    expect(text).not.toContain(Buffer.from(value).join(","));
  });

  it("is bounded, whatever it is given", () => {
    const deep: Record<string, unknown> = {};
    deep["self"] = deep;
    expect(logged({ deep }).text.length).toBeLessThan(1000);
    expect(logged({ long: "x".repeat(1e6) }).text.length).toBeLessThan(3000);
  });
});

describe("an error in a log line", () => {
  it("shows what a person needs of an expected one, without a stack", () => {
    const cause = new Error("ECONNREFUSED");
    const error = new LifeboatError("PeerUnreachable", "no answer", { op: "rpc.connect", hint: "check", cause });
    expect(safeError(error)).toEqual({
      type: "LifeboatError",
      message: "no answer",
      code: "PeerUnreachable",
      op: "rpc.connect",
      hint: "check",
      cause: { type: "Error", message: "ECONNREFUSED" },
    });
  });

  it("shows the stack of a defect", () => {
    expect(safeError(new TypeError("x is undefined")).stack).toContain("log.test.ts");
    expect(safeError("a text")).toEqual({ type: "string", message: "a text" });
  });
});
