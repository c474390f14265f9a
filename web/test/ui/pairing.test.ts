// @vitest-environment happy-dom
/** The Devices view asks no server to pair devices, unless the visitor enters one. */
import { beforeEach, expect, test, vi } from "vitest";
import { FakePeer, made } from "../devices/fake-peer";
import { Visitor } from "./visitor";

beforeEach(() => {
  made.length = 0;
  vi.stubGlobal("RTCPeerConnection", FakePeer);
});

/** A visitor who enters a STUN server, or none, and invites a device. */
async function inviting(stun: string): Promise<Visitor> {
  const visitor = new Visitor("?view=devices&system=hop-sequential");
  await visitor.sees(() => expect(visitor.text(".system-line")).toContain("hop-sequential"));
  if (stun !== "") visitor.enter("STUN server (none by default)", stun);
  await visitor.click("Invite a device");
  return visitor;
}

test("by default no server is asked", async () => {
  const visitor = await inviting("");
  await visitor.sees(() => expect(visitor.texts("label")).toContain("1. Open this link on the other device"));
  expect(made).toEqual([{ iceServers: [] }]);
});

test("the STUN server that the visitor entered is asked, without the spaces around it", async () => {
  await inviting(" stun:stun.example.org:3478 ");
  await vi.waitFor(() => expect(made).toEqual([{ iceServers: [{ urls: "stun:stun.example.org:3478" }] }]));
});

test("an address that is none is refused in one line", async () => {
  const visitor = await inviting("stun.example.org");
  await visitor.sees(() =>
    expect(visitor.text(".devices-problem")).toContain(
      "a STUN server looks like stun:stun.example.org:3478, got 'stun.example.org'",
    ),
  );
  expect(made).toEqual([]);
});
