/** Giving way to incoming messages, far faster than a timer can (browsers hold nested timers back by 4 ms). */

/** @returns a function whose promise settles after the messages that wait have been handled. */
export function createTick(): () => Promise<void> {
  const channel = new MessageChannel();
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      channel.port2.postMessage(null);
    });
}
