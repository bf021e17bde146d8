import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DigestTable, bucketOf } from "../../../src/objects/digest.ts";
import { canonicalJson, cloneJson, parseJson } from "../../../src/objects/json.ts";
import { formatKey, keyOf, parseKey } from "../../../src/objects/key.ts";
import { hashOf } from "../../../src/objects/record.ts";

describe("JSON", () => {
  it("keeps numbers that JavaScript cannot hold as they were written", () => {
    const text = '{"a":9007199254740993,"b":1.0,"c":[12345678901234567890,1e3],"d":"9007199254740993.0","e":5}';
    expect(JSON.stringify(parseJson(text))).toBe(text);
    expect(canonicalJson(cloneJson(parseJson(text)))).toBe(text);
  });

  it("writes equal values as equal text, whatever the order of their keys", () => {
    expect(canonicalJson({ b: 1, a: { d: [1, { z: 1, y: undefined }], c: null } })).toBe(
      canonicalJson({ a: { c: null, d: [1, { z: 1 }] }, b: 1 }),
    );
  });

  it("agrees with JSON.parse on every value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(JSON.stringify(parseJson(text))).toBe(text);
        expect(JSON.parse(canonicalJson(parseJson(text)))).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe("keys", () => {
  it("name core and cluster-scoped objects with empty parts and read back", () => {
    expect(keyOf({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } })).toBe("/Namespace//shop");
    const parts = { group: "apps", kind: "Deployment", namespace: "shop", name: "web.v2" };
    expect(parseKey(formatKey(parts))).toEqual(parts);
    expect(() => parseKey("apps/Deployment/web")).toThrow("not an object key");
  });
});

describe("digests", () => {
  it("differ in exactly the buckets whose entries differ, however they came about", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), fc.string(), fc.string(), (entries, key, hash) => {
        const a = new DigestTable();
        const b = new DigestTable();
        for (const [k, h] of Object.entries(entries)) a.toggle(k, h);
        for (const [k, h] of Object.entries(entries).reverse()) b.toggle(k, h);
        b.toggle(key, hash);
        expect(a.differing(b.bytes())).toEqual([bucketOf(key)]);
        b.toggle(key, hash);
        expect(a.differing(b.bytes())).toEqual([]);
      }),
    );
  });

  it("tell an object from its managers in the hash", () => {
    expect(hashOf("ab", "c")).not.toBe(hashOf("a", "bc"));
  });
});
