import { describe, expect, it } from "vitest";
import { checkIdentity, formatIdentity, identityOf, parseIdentity } from "../../../src/rpc/identity.ts";

describe("identity of a peer", () => {
  it("is read from the URI name among others", () => {
    expect(identityOf("DNS:east.example, URI:lifeboat://shop/site/east, IP Address:10.0.0.1")).toEqual({
      pair: "shop",
      role: "site",
      site: "east",
    });
    expect(identityOf("URI:lifeboat://shop/witness")).toEqual({ pair: "shop", role: "witness" });
    expect(identityOf("URI:lifeboat://shop/operator")).toEqual({ pair: "shop", role: "operator" });
  });

  it("is the same after formatting and parsing", () => {
    for (const uri of ["lifeboat://shop/site/east", "lifeboat://a.b-c/witness", "lifeboat://x/operator"]) {
      const identity = parseIdentity(uri);
      expect(identity && formatIdentity(identity)).toBe(uri);
    }
  });

  it.each([
    undefined,
    "",
    "DNS:lifeboat",
    "URI:https://shop/site/east",
    "URI:lifeboat://shop/site/",
    "URI:lifeboat://shop/site/EAST",
    "URI:lifeboat://shop/site/east/more",
    "URI:lifeboat://shop/admin",
    "URI:lifeboat://shop/site/east, URI:lifeboat://shop/witness",
    'URI:"lifeboat://shop/site/east, URI:lifeboat://shop/site/west"',
    'DNS:"x, URI:lifeboat://shop/site/west"',
  ])("is refused in %j", (names) => {
    expect(() => identityOf(names)).toThrow(expect.objectContaining({ code: "PeerCertificate" }));
  });

  it("must be of the expected pair, role and site", () => {
    const east = { pair: "shop", role: "site", site: "east" } as const;
    const roles = ["site"] as const;
    checkIdentity(east, { pair: "shop", roles });
    checkIdentity(east, { pair: "shop", roles, site: "east" });
    expect(() => checkIdentity(east, { pair: "other", roles })).toThrow(
      "expected pair other, the certificate says lifeboat://shop/site/east",
    );
    expect(() => checkIdentity(east, { pair: "shop", roles, site: "west" })).toThrow("expected site west");
    expect(() => checkIdentity(east, { pair: "shop", roles: ["witness"] })).toThrow("expected role witness");
  });
});
