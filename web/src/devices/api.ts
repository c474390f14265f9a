/** Several devices in one system, as the page sees them: the only module of `src/devices` that the page imports. */
export type { Channel } from "./channel";
export type { Health } from "./connection";
export { type Device, type Holder, Leader, type Transfer } from "./leader";
export { Member } from "./member";
export { type HeldAgent, type Hello, oneLine, PROTOCOL } from "./messages";
export { type Invitation, invite, join, type Reply } from "./rtc";
