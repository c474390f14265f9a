import { describe, expect, test } from "vitest";
import { codeOf, parseCode, printCode, sdpOf } from "../../src/devices/code";
import { failure, says } from "../engine/errors";

/** As Chromium writes it. */
const OFFER = `v=0
o=- 2025643493598879868 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=candidate:3708874544 1 udp 2113937151 0316bf38-e093-4ee1-8916-136541ea3e1b.local 49307 typ host generation 0 network-cost 999
a=candidate:3663889280 1 udp 2113942271 fd00::2 53929 typ host generation 0 network-cost 999
a=candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0
a=candidate:842163049 1 udp 1677729535 203.0.113.7 40001 typ srflx raddr 192.0.2.7 rport 40001 generation 0
a=ice-ufrag:li5D
a=ice-pwd:CSoUGP3oI3LI+fquD9RDCn3l
a=ice-options:trickle
a=fingerprint:sha-256 F2:7C:BD:6D:D9:19:BD:47:A5:23:97:A6:80:30:6B:CB:8C:CA:32:68:40:F1:9C:04:67:2D:BF:6B:39:05:5F:69
a=setup:actpass
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
`;

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
