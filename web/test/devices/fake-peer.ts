/** WebRTC without a network, for tests of what a browser is asked. */
import { OFFER } from "./offer";

/** The configurations of all connections that were made. */
export const made: RTCConfiguration[] = [];

/** A browser's connection that finds its addresses at once and never reaches anybody. */
export class FakePeer extends EventTarget {
  readonly iceGatheringState = "complete";
  readonly connectionState = "new";
  localDescription: { readonly sdp: string } | null = null;

  constructor(configuration: RTCConfiguration = {}) {
    super();
    made.push(configuration);
  }
  createDataChannel = () => Object.assign(new EventTarget(), { readyState: "connecting" });
  setLocalDescription = async (): Promise<void> => {
    this.localDescription = { sdp: OFFER };
  };
  setRemoteDescription = async (): Promise<void> => {};
  close = (): void => {};
}
