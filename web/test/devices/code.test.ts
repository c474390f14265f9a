import { describe, expect, test } from "vitest";
import { codeOf, parseCode, printCode, sdpOf } from "../../src/devices/code";
import { failure, says } from "../engine/errors";
import { OFFER } from "./offer";

describe("a code", () => {
  const code = codeOf(OFFER, "invitation");

  test("holds what two browsers need, and UDP addresses alone", () => {
    expect(code).toEqual({
      kind: "invitation",
      user: "li5D",
      password: "CSoUGP3oI3LI+fquD9RDCn3l",
      fingerprint: "f27cbd6dd919bd47a52397a680306bcb8cca326840f19c04672dbf6b39055f69",
      addresses: [
        ["0316bf38-e093-4ee1-8916-136541ea3e1b.local", 49307, "host", 2113937151],
        ["fd00::2", 53929, "host", 2113942271],
        ["203.0.113.7", 40001, "srflx", 1677729535],
      ],
    });
  });

  test("is one word, and is found in a link and between white space", () => {
    const text = printCode(code);
    expect(text).toMatch(/^rmas1i-[\w-]+$/);
    expect(parseCode(`https://example.org/page/?system=x#join=${text}`, "invitation")).toEqual(code);
    expect(parseCode(`  ${text.slice(0, 60)}\n ${text.slice(60)}\n`, "invitation")).toEqual(code);
  });

  test("becomes a session description that says the same, written here line by line", () => {
    const sdp = sdpOf(code);
    expect(codeOf(sdp, "invitation")).toEqual(code);
    expect(sdp).toContain("a=setup:actpass\r\n");
    expect(sdpOf({ ...code, kind: "reply" })).toContain("a=setup:active\r\n");
    expect(sdp.split("\r\n").every((line) => /^[a-z]=[ -~]*$/.test(line) || line === "")).toBe(true);
  });

  test.each([
    ["hello", "this is no reply"],
    [printCode(code), "this is the invitation itself"],
    [printCode({ ...code, kind: "reply" }).slice(0, -30), "this reply is not whole"],
    [`rmas1r-${btoa('{"u":"aaaa"}')}`, "this reply is not whole"],
  ])("that is not a whole reply is refused with what to do: %#", async (given, words) => {
    expect(await failure(() => parseCode(given, "reply"))).toMatch(says("bad-peer", words));
  });

  test.each([
    ["line breaks in a password", { password: "CSoUGP3oI3LI+fquD9RDCn3l\r\na=x" }],
    ["an address that is none", { addresses: [["a b", 1, "host", 1] as const] }],
    ["a port that is none", { addresses: [["192.0.2.7", 70_000, "host", 1] as const] }],
    ["no address", { addresses: [] }],
    ["a fingerprint of another length", { fingerprint: "ab" }],
  ])("with %s never becomes a session description", async (_, change) => {
    const text = printCode({ ...code, ...change });
    expect(await failure(() => parseCode(text, "invitation"))).toMatch(says("bad-peer", "is not whole"));
  });

  test("needs an address", async () => {
    const offline = OFFER.replace(/^a=candidate.*\n/gm, "");
    expect(await failure(() => codeOf(offline, "invitation"))).toMatch(says("bad-peer", "found no address"));
  });
});
