import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { agentConfigSchema, loadConfig, witnessConfigSchema } from "../../../src/config/agent.ts";

const agent = `
site: east
pair: lab
peers: [{site: west, address: "10.0.0.2:7443"}]
witness: {address: "[fd00::1]:7444"}
tls: {cert: c.pem, key: k.pem, ca: ca.pem}
dataDir: /data
`;

async function fileWith(text: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "lifeboat-config-")), "agent.yaml");
  await writeFile(path, text);
  return path;
}

describe("a configuration file", () => {
  it("gets the defaults of what it leaves out", async () => {
    const config = await loadConfig(await fileWith(agent), agentConfigSchema);
    expect(config).toMatchObject({ site: "east", namespace: "lifeboat-system", logLevel: "info" });
  });

  it("may be JSON", async () => {
    const path = await fileWith(JSON.stringify({ pair: "lab", tls: { cert: "c", key: "k", ca: "a" }, dataDir: "/d" }));
    expect((await loadConfig(path, witnessConfigSchema)).listen).toBe("0.0.0.0:7444");
  });

  it.each([
    ["an unknown field", `${agent}logLevl: debug`, "logLevl: unknown field; did you mean logLevel?"],
    ["a wrong address", agent.replace(":7443", ""), "peers[0].address: must be HOST:PORT"],
    ["a site called witness", agent.replace("site: east", "site: witness"), "site: must not be witness"],
    ["a missing field", agent.replace("pair: lab", ""), "pair: is required"],
    ["no peers", agent.replace(/peers:.*/, "peers: []"), "peers: must have at least 1 entries"],
    ["text that is no object", "just text", "value: must be an object, not a string"],
    ["nothing", "", "value: must be an object"],
  ])("with %s is refused and says where", async (_title, text, message) => {
    await expect(loadConfig(await fileWith(text), agentConfigSchema)).rejects.toThrow(message);
  });

  it("of a witness needs a folder for its store, or another store", async () => {
    const witness = (text: string) =>
      fileWith(`{pair: lab, tls: {cert: c, key: k, ca: a}, ${text}}`).then((path) =>
        loadConfig(path, witnessConfigSchema),
      );
    const etcd = 'endpoints: ["https://10.0.0.1:2379"], tls: {cert: c, key: k, ca: a}';
    expect((await witness(`store: {etcd: {${etcd}}}`)).store?.etcd?.endpoints).toHaveLength(1);
    expect((await witness("store: {lease: {}}")).store?.lease).toEqual({ namespace: "lifeboat-system" });
    await expect(witness("logLevel: info")).rejects.toThrow("dataDir: is required, or name another store");
    await expect(witness("store: {}")).rejects.toThrow("store: name one of etcd, lease");
    await expect(witness(`store: {lease: {}, etcd: {${etcd}}}`)).rejects.toThrow("store: name one of etcd, lease");
    await expect(witness('store: {etcd: {endpoints: ["10.0.0.1:2379"]}}')).rejects.toThrow(
      "store.etcd.endpoints[0]: must be http://HOST:PORT",
    );
    await expect(witness('store: {etcd: {endpoints: ["https://a:2379"]}}')).rejects.toThrow(
      "store.etcd.tls: is required for https",
    );
    await expect(witness("store: {redis: {}}")).rejects.toThrow("store.redis: unknown field; known here: etcd, lease");
  });

  it("that does not exist is named", async () => {
    await expect(loadConfig("/nowhere/agent.yaml", agentConfigSchema)).rejects.toMatchObject({
      code: "ConfigInvalid",
      message: expect.stringContaining("cannot read /nowhere/agent.yaml") as string,
    });
  });

  it("that is no YAML is named", async () => {
    await expect(loadConfig(await fileWith("a: [1"), agentConfigSchema)).rejects.toMatchObject({
      code: "ConfigInvalid",
    });
  });
});
