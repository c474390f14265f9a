/** Giving way to incoming messages, far faster than a timer can (browsers hold nested timers back by 4 ms). */

export interface Tick {
  /** Settles after the messages that wait have been handled. */
  readonly wait: () => Promise<void>;
  /** Lets go of the channel; nothing may wait any more. */
  readonly close: () => void;
}

/** One channel, for as many waits as wanted. */
export function createTick(): Tick {
  const channel = new MessageChannel();
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  return {
    wait: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        channel.port2.postMessage(null);
      }),
    close: () => channel.port1.close(),
  };
}
