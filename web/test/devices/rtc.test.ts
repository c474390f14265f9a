/** Which servers a browser is told to ask before it pairs devices: none, unless the visitor names one. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { codeOf, printCode } from "../../src/devices/code";
import { invite, join } from "../../src/devices/rtc";
import { failure } from "../engine/errors";
import { FakePeer, made } from "./fake-peer";
import { OFFER } from "./offer";

const invitation = printCode(codeOf(OFFER, "invitation"));
const ways = [
  ["inviting", (stun: string) => invite(stun)],
  ["joining", (stun: string) => join(invitation, stun)],
] as const;

beforeEach(() => {
  made.length = 0;
  vi.stubGlobal("RTCPeerConnection", FakePeer);
});

describe.each(ways)("a device that is %s", (_way, pair) => {
  test("asks no server by default", async () => {
    const { code } = await pair("");
    expect(code).toMatch(/^rmas1[ir]-/);
    expect(made).toEqual([{ iceServers: [] }]);
  });

  test.each([
    "stun:stun.example.org:3478",
    "stun:stun.example.org",
    "stuns:stun.example.org:5349",
    "stun:192.0.2.7",
  ])("asks the STUN server that the visitor entered, %s, and no other", async (stun) => {
    await pair(stun);
    expect(made).toEqual([{ iceServers: [{ urls: stun }] }]);
  });

  test.each([
    "stun.example.org",
    "https://stun.example.org",
    "turn:turn.example.org",
    "stun:",
    "stun:a b",
    "stun:stun.example.org:port",
    "stun:one.example.org,stun:two.example.org",
    "stun:stun.example.org\nstun:other.example.org",
  ])("refuses %j in one line, before it makes a connection", async (stun) => {
    const words = await failure(() => pair(stun));
    expect(words).toBe(
      `bad-option: a STUN server looks like stun:stun.example.org:3478, got '${stun.replace("\n", " ")}'`,
    );
    expect(made).toEqual([]);
  });

  test("needs a browser with WebRTC", async () => {
    vi.stubGlobal("RTCPeerConnection", undefined);
    expect(await failure(() => pair(""))).toBe(
      "bad-peer: this browser cannot connect to other devices: it has no WebRTC",
    );
  });
});
