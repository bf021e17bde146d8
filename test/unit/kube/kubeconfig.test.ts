import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { kubeSourceFrom, loadProfile } from "../../../src/kube/kubeconfig.ts";

async function file(content: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "config");
  await writeFile(path, content);
  return path;
}

const east = `
current-context: east
contexts:
- {name: east, context: {cluster: east, user: admin, namespace: shop}}
- {name: lost, context: {cluster: nowhere, user: admin}}
clusters:
- {name: east, cluster: {server: "https://east:6443", certificate-authority: ca.crt, tls-server-name: api}}
users:
- {name: admin, user: {client-certificate-data: Y2VydA==, client-key: keys/admin.key, token: ignored}}
`;
const west = `
current-context: west
contexts: [{name: west, context: {cluster: west, user: admin}}, {name: east, context: {cluster: west, user: admin}}]
clusters: [{name: west, cluster: {server: "https://west:6443", insecure-skip-tls-verify: true, proxy-url: "http://p:1"}}]
users: [{name: admin, user: {username: u, password: p}}, {name: plug, user: {exec: {command: x}}}]
`;

test("a context is read with its cluster and user; paths are relative to the file", async () => {
  const path = await file(east);
  const folder = join(path, "..");
  expect(await loadProfile({ from: "files", paths: [path] })).toMatchObject({
    context: "east",
    namespace: "shop",
    server: "https://east:6443",
    tlsServerName: "api",
    insecure: false,
    ca: { file: join(folder, "ca.crt") },
    cert: { data: Buffer.from("cert") },
    key: { file: join(folder, "keys/admin.key") },
    token: { data: Buffer.from("ignored") },
    plugin: undefined,
  });
});

test("of several files the first that defines a name wins", async () => {
  const paths = [await file(east), await file(west)];
  expect(await loadProfile({ from: "files", paths })).toMatchObject({ context: "east", server: "https://east:6443" });
  expect(await loadProfile({ from: "files", paths, context: "west" })).toMatchObject({
    server: "https://west:6443",
    insecure: true,
    proxyUrl: "http://p:1",
    namespace: "default",
    cert: { data: Buffer.from("cert") },
    basic: undefined,
  });
});

test.each([
  ["a missing file", undefined, undefined, /cannot read kubeconfig/],
  ["an empty file", "", undefined, /is empty/],
  ["a file that is not YAML", "{", undefined, /is not YAML/],
  ["no current context", "contexts: []", undefined, /no current-context/],
  ["an unknown context", east, "north", /no context "north"/],
  ["a context without its cluster", east, "lost", /no cluster "nowhere"/],
  ["a server that is no address", east.replace("https://east:6443", "::"), undefined, /no usable server address/],
])("%s is KubeconfigInvalid and says so", async (_, content, context, message) => {
  const path = content === undefined ? "/nonexistent/config" : await file(content);
  await expect(loadProfile({ from: "files", paths: [path], context })).rejects.toMatchObject({
    code: "KubeconfigInvalid",
    message,
  });
});

test("an unknown context's error lists those that there are", async () => {
  const path = await file(east);
  await expect(loadProfile({ from: "files", paths: [path], context: "north" })).rejects.toMatchObject({
    hint: "contexts there: east, lost",
  });
});

test("a pod's service account is read from its folder, IPv6 included", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  const source = { from: "pod", host: "fd00::1", port: "443", folder } as const;
  await expect(loadProfile(source)).rejects.toMatchObject({ code: "KubeconfigInvalid" });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "namespace"), "lifeboat\n");
  expect(await loadProfile(source)).toMatchObject({
    server: "https://[fd00::1]:443",
    namespace: "lifeboat",
    token: { file: join(folder, "token") },
  });
});

test("the source is chosen as kubectl does", () => {
  const pod = { KUBERNETES_SERVICE_HOST: "h", KUBERNETES_SERVICE_PORT: "1", HOME: "/home/me" };
  expect(kubeSourceFrom(pod, { kubeconfig: "/f" })).toMatchObject({ paths: ["/f"] });
  expect(kubeSourceFrom({ ...pod, KUBECONFIG: "/a::/b" })).toMatchObject({ paths: ["/a", "/b"] });
  expect(kubeSourceFrom(pod)).toEqual({ from: "pod", host: "h", port: "1" });
  expect(kubeSourceFrom({ HOME: "/home/me" })).toMatchObject({ paths: ["/home/me/.kube/config"] });
});
