/**
 * Invitations and replies as codes that people copy.
 *
 * A code holds what two browsers need to find each other: the names and the password of the connection, the fingerprint
 * of the certificate that encrypts it, and addresses. A session description (SDP) is written from these values, so
 * nothing that somebody else wrote ever reaches the browser's own parser, and no server is asked for anything.
 *
 * Source: RFC 8839 (ICE in SDP), RFC 8841 (SCTP over DTLS in SDP), RFC 8122 (fingerprints).
 */
import * as v from "valibot";
import { EngineError } from "../engine/api";

/** Which half of the exchange a code is. */
export type CodeKind = "invitation" | "reply";

/** An address at which a device can be reached: host, UDP port, `host` or as a STUN server sees it, priority. */
export type Address = readonly [host: string, port: number, type: "host" | "srflx", priority: number];

/** What a code holds. */
export interface ConnectionCode {
  readonly kind: CodeKind;
  /** ICE's user fragment and password. */
  readonly user: string;
  readonly password: string;
  /** SHA-256 of the certificate, 64 hex digits. */
  readonly fingerprint: string;
  readonly addresses: readonly Address[];
}

/** What every code begins with; the letter after it says which half it is. */
const MARKS: Readonly<Record<CodeKind, string>> = { invitation: "rmas1i-", reply: "rmas1r-" };
/** More than sixteen addresses of the longest kind never take. */
const MOST_CODE_LENGTH = 4000;
const MOST_ADDRESSES = 16;
/** An IPv4 or IPv6 address, or the random name that browsers give in its place within a local network. */
const HOST = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}|[0-9a-z-]{1,63}\.local)$/i;

const SCHEMA = v.strictObject({
  u: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{4,256}$/)),
  p: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{22,256}$/)),
  f: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  a: v.pipe(
    v.array(
      v.strictTuple([
        v.pipe(v.string(), v.regex(HOST)),
        v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535)),
        v.picklist(["host", "srflx"]),
        v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 31 - 1)),
      ]),
    ),
    v.minLength(1),
    v.maxLength(MOST_ADDRESSES),
  ),
});

/** @returns the code as one word of letters, digits, `-` and `_`, so that it can stand in a link. */
export function printCode({ kind, user, password, fingerprint, addresses }: ConnectionCode): string {
  const text = JSON.stringify({ u: user, p: password, f: fingerprint, a: addresses });
  return MARKS[kind] + btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/**
 * Reads a code, or a link with one. White space, which messengers put into long words, does not matter.
 *
 * @throws EngineError `bad-peer`: what was expected, and what to do.
 */
export function parseCode(given: string, kind: CodeKind): ConnectionCode {
  const text = given.slice(0, 2 * MOST_CODE_LENGTH).replace(/\s+/g, "");
  const found = /rmas1([ir])-([\w-]*)/.exec(text);
  if (!found) throw bad(`this is no ${kind}; it should have ${MARKS[kind]} in it. Copy it again, as a whole`);
  const [, letter, body = ""] = found;
  const came: CodeKind = letter === "i" ? "invitation" : "reply";
  if (came !== kind) {
    throw bad(
      kind === "reply"
        ? "this is the invitation itself; open it on the other device, and copy the reply that appears there"
        : "this is a reply; it belongs into the page that made the invitation",
    );
  }
  const parsed = v.safeParse(SCHEMA, decode(body));
  if (!parsed.success || body.length > MOST_CODE_LENGTH)
    throw bad(`this ${kind} is not whole; copy it again, from its beginning to its end`);
  const { u, p, f, a } = parsed.output;
  return { kind, user: u, password: p, fingerprint: f, addresses: a };
}

function decode(body: string): unknown {
  try {
    return JSON.parse(atob(body.replace(/-/g, "+").replace(/_/g, "/")));
  } catch {
    return undefined;
  }
}

/**
 * Takes from a browser's own session description what a code holds.
 *
 * @throws EngineError `bad-peer` if the browser gave no address or another form of description.
 */
export function codeOf(sdp: string, kind: CodeKind): ConnectionCode {
  const value = (name: string): string => new RegExp(`^a=${name}:(.*)$`, "m").exec(sdp)?.[1]?.trim() ?? "";
  const [hash = "", digest = ""] = value("fingerprint").split(" ");
  const addresses = [...sdp.matchAll(/^a=candidate:(.*)$/gm)].flatMap(([, line = ""]): Address[] => {
    const [, component, protocol, priority, host = "", port, , type] = line.trim().split(" ");
    const usable = component === "1" && protocol?.toLowerCase() === "udp" && HOST.test(host);
    if (!usable || (type !== "host" && type !== "srflx")) return [];
    return [[host, Number(port), type, Number(priority)]];
  });
  const code: ConnectionCode = {
    kind,
    user: value("ice-ufrag"),
    password: value("ice-pwd"),
    fingerprint: hash.toLowerCase() === "sha-256" ? digest.replace(/:/g, "").toLowerCase() : "",
    addresses: addresses.slice(0, MOST_ADDRESSES),
  };
  if (addresses.length === 0)
    throw bad("this browser found no address at which another device could reach it; is it offline?");
  return parseCode(printCode(code), kind);
}

/** @returns the session description that a code stands for: an offer or an answer with one data channel. */
export function sdpOf({ kind, user, password, fingerprint, addresses }: ConnectionCode): string {
  const candidates = addresses.map(([host, port, type, priority], index) => {
    const related = type === "srflx" ? " raddr 0.0.0.0 rport 9" : "";
    return `a=candidate:${index + 1} 1 udp ${priority} ${host} ${port} typ ${type}${related}`;
  });
  const digest = fingerprint.toUpperCase().match(/../g)?.join(":");
  const lines = [
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    ...candidates,
    "a=end-of-candidates",
    `a=ice-ufrag:${user}`,
    `a=ice-pwd:${password}`,
    `a=fingerprint:sha-256 ${digest}`,
    `a=setup:${kind === "invitation" ? "actpass" : "active"}`,
    "a=mid:0",
    "a=sctp-port:5000",
    "a=max-message-size:65536",
  ];
  return `${lines.join("\r\n")}\r\n`;
}

function bad(problem: string): EngineError {
  return new EngineError("bad-peer", problem);
}
