/** Lets incoming messages in, far faster than a timer could: browsers delay nested timers by 4 ms. */

interface Tick {
  /** Resolves after the waiting messages have been handled. */
  readonly wait: () => Promise<void>;
  /** Closes the channel. Nothing may wait after it. */
  readonly close: () => void;
}

/** Opens one channel, which serves any number of waits. */
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
