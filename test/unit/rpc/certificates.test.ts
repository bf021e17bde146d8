import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Certificates, type CertificateFiles } from "../../../src/rpc/certificates.ts";
import { exchangeService, openExchange } from "../../../src/rpc/exchange.ts";
import { createAuthority, issueCertificate, type KeyAndCertificate } from "../../../src/rpc/pki.ts";
import { anySite, createPair, dial, eventually, pairName, serve, site, validity } from "./pair.ts";

const signal = new AbortController().signal;
const pair = await createPair();
const east = await pair.certificatesFor(site("east"));
const west = await pair.certificatesFor(site("west"));
const exchange = exchangeService(anySite, { connect: async () => {} });

async function write(files: CertificateFiles, leaf: KeyAndCertificate, ca: string): Promise<void> {
  await writeFile(files.caFile, ca);
  await writeFile(files.keyFile, leaf.key);
  await writeFile(files.certFile, leaf.cert);
}

async function folder(): Promise<CertificateFiles & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "lifeboat-certificates-"));
  return {
    certFile: join(path, "tls.crt"),
    keyFile: join(path, "tls.key"),
    caFile: join(path, "ca.crt"),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}

describe("a connection is refused with PeerCertificate", () => {
  it("when the server's certificate is of another authority", async () => {
    const stranger = await (await createPair()).certificatesFor(site("east"));
    await using server = await serve(stranger, [exchange]);
    await expect(dial(west, server.port)).rejects.toMatchObject({
      code: "PeerCertificate",
      hint: expect.stringContaining("authority"),
    });
  });

  it("when the client's certificate is of another authority, although the client trusts the server", async () => {
    const other = await createPair();
    const leaf = await issueCertificate(other.authority, site("west"), validity);
    const intruder = new Certificates({
      cert: Buffer.from(leaf.cert),
      key: Buffer.from(leaf.key),
      ca: Buffer.from(pair.authority.cert),
    });
    await using server = await serve(east, [exchange]);
    await expect(dial(intruder, server.port)).rejects.toMatchObject({ code: "PeerCertificate" });
  });

  it("when the server is another site than the one dialled", async () => {
    await using server = await serve(east, [exchange]);
    await expect(dial(west, server.port, { ...anySite, site: "north" })).rejects.toMatchObject({
      code: "PeerCertificate",
      message: "expected site north, the certificate says lifeboat://shop-pair/site/east",
    });
  });

  it("when the caller is of another pair that the same authority signs for", async () => {
    const leaf = await issueCertificate(pair.authority, site("west", "other"), validity);
    const neighbour = new Certificates({
      cert: Buffer.from(leaf.cert),
      key: Buffer.from(leaf.key),
      ca: Buffer.from(pair.authority.cert),
    });
    await using server = await serve(east, [exchange]);
    using connection = await dial(neighbour, server.port);
    const messages = openExchange(connection).receive({ signal });
    await expect(messages.next()).rejects.toMatchObject({
      code: "PeerCertificate",
      message: "expected pair shop-pair, the certificate says lifeboat://other/site/west",
    });
  });

  it("when it has expired", async () => {
    const leaf = await issueCertificate(pair.authority, site("east"), { nowMs: validity.nowMs, days: -0.5 });
    const expired = new Certificates({
      cert: Buffer.from(leaf.cert),
      key: Buffer.from(leaf.key),
      ca: Buffer.from(pair.authority.cert),
    });
    await using server = await serve(expired, [exchange]);
    await expect(dial(west, server.port)).rejects.toMatchObject({
      code: "PeerCertificate",
      message: expect.stringContaining("expired"),
    });
  });
});

describe("certificate files", () => {
  it("are refused when missing, and when key and certificate do not fit together", async () => {
    await using files = await folder();
    await expect(Certificates.load(files)).rejects.toMatchObject({ code: "PeerCertificate" });
    const one = await issueCertificate(pair.authority, site("east"), validity);
    const two = await issueCertificate(pair.authority, site("east"), validity);
    await write(files, { cert: one.cert, key: two.key }, pair.authority.cert);
    await expect(Certificates.load(files)).rejects.toMatchObject({
      code: "PeerCertificate",
      message: expect.stringContaining("do not fit together"),
    });
    for (const bundle of ["", "garbage", pair.authority.cert.trimEnd() + pair.authority.cert, one.key]) {
      await write(files, one, bundle);
      await expect(Certificates.load(files)).rejects.toMatchObject({
        message: expect.stringContaining("bundle of authorities"),
      });
    }
  });

  it("are reloaded by a running server: the authority is rotated with an overlap, and nobody restarts", async () => {
    await using files = await folder();
    const next = await createAuthority(pairName, validity);
    await write(files, await issueCertificate(pair.authority, site("east"), validity), pair.authority.cert);
    const serving = await Certificates.load(files, { refreshMs: 20 });
    await using server = await serve(serving, [exchange]);
    const leaf = await issueCertificate(next, site("west"), validity);
    const rotated = new Certificates({
      cert: Buffer.from(leaf.cert),
      key: Buffer.from(leaf.key),
      ca: Buffer.from(pair.authority.cert + next.cert),
    });
    await expect(dial(rotated, server.port)).rejects.toMatchObject({ code: "PeerCertificate" });

    await writeFile(files.caFile, pair.authority.cert + next.cert);
    await eventually(() => serving.material.ca.length > pair.authority.cert.length);
    (await dial(rotated, server.port)).close();
    (await dial(west, server.port)).close();

    // The server's own certificate changes next; the key alone is a half-written set and must not be used.
    const renewed = await issueCertificate(next, site("east"), validity);
    await writeFile(files.keyFile, renewed.key);
    await eventually(() => serving.problem !== undefined);
    (await dial(west, server.port)).close();
    await writeFile(files.certFile, renewed.cert);
    await eventually(() => serving.problem === undefined && serving.material.cert.equals(Buffer.from(renewed.cert)));
    (await dial(rotated, server.port)).close();
    await expect(dial(west, server.port)).rejects.toMatchObject({ code: "PeerCertificate" });
    serving.close();
  });
});
