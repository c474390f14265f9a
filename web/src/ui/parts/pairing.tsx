/** Connecting two devices by codes that people copy: the invitation, the reply, and joining another device. */
import type { JSX } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { INITIAL, printAddress } from "../model/url";
import { invitationLink } from "../state/devices";
import { useStore } from "../state/store";

/** A text to carry to another device. */
function CopyField({ label, value, hint }: { label: string; value: string; hint: string }): JSX.Element {
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    field.current?.select();
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      // The text is selected, so that the visitor can copy it.
    }
  };
  return (
    <div class="code-field">
      <label for={id}>{label}</label>
      <textarea
        id={id}
        ref={field}
        class="code"
        readOnly
        rows={3}
        value={value}
        onFocus={(event) => event.currentTarget.select()}
      />
      <div class="code-tools">
        <button type="button" class="button" onClick={() => void copy()}>
          {copied ? "Copied" : "Copy"}
        </button>
        <span>{hint}</span>
      </div>
    </div>
  );
}

/** A box for a code that was carried here. */
function PasteField(props: {
  label: string;
  action: string;
  disabled: boolean;
  onCode: (code: string) => void;
}): JSX.Element {
  const { label, action, disabled, onCode } = props;
  const id = useId();
  const [text, setText] = useState("");
  return (
    <form
      class="code-field"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() !== "") onCode(text);
      }}
    >
      <label for={id}>{label}</label>
      <textarea
        id={id}
        class="code"
        rows={3}
        spellcheck={false}
        autocomplete="off"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <div class="code-tools">
        <button type="submit" class="button strong" disabled={disabled || text.trim() === ""}>
          {action}
        </button>
      </div>
    </form>
  );
}

/** Invites a device: a link to carry there, and a place for the reply. */
export function InvitePanel(): JSX.Element {
  const { devices, page, session } = useStore();
  const inviting = devices.inviting.value;
  if (!inviting) {
    return (
      <button
        type="button"
        class="button strong"
        disabled={!session.system.value}
        onClick={() => void devices.invite()}
      >
        {devices.role.value === "leader" ? "Invite another device" : "Invite a device"}
      </button>
    );
  }
  if (inviting.state === "making") return <p class="pairing-wait">Making an invitation…</p>;
  const { query } = printAddress({ ...INITIAL, system: page.state.value.system, view: "devices" });
  return (
    <section class="pairing" aria-label="Invitation">
      <ol class="pairing-steps">
        <li>
          <CopyField
            label="1. Open this link on the other device"
            value={invitationLink(query, inviting.code)}
            hint="It works once. Send it as you like: whoever has it first can join."
          />
        </li>
        <li>
          <PasteField
            label="2. Paste the reply that appears there"
            action={inviting.state === "connecting" ? "Connecting…" : "Connect"}
            disabled={inviting.state === "connecting"}
            onCode={(code) => void devices.accept(code)}
          />
        </li>
      </ol>
      <button type="button" class="link" onClick={() => devices.cancelInvitation()}>
        Cancel the invitation
      </button>
    </section>
  );
}

/** Joins a device that sent an invitation. */
export function JoinPanel(): JSX.Element {
  const { devices, session } = useStore();
  const joining = devices.joining.value;
  const system = session.system.value;
  if (!joining) {
    return (
      <details class="pairing-join">
        <summary>Another device has invited this one</summary>
        <PasteField
          label="Paste the invitation"
          action="Go on"
          disabled={!system}
          onCode={(code) => devices.consider(code)}
        />
      </details>
    );
  }
  if (joining.state === "waiting") {
    return (
      <section class="pairing" aria-label="Reply">
        <CopyField
          label="Carry this reply back to the device that invited this one"
          value={joining.code}
          hint="This page goes on by itself as soon as the other one has taken the reply."
        />
        <button type="button" class="link" onClick={() => devices.leave()}>
          Cancel
        </button>
      </section>
    );
  }
  return (
    <section class="pairing" aria-label="Join">
      <p>
        Another device invites this one to hold some of the agents of <b>{system?.name ?? "…"}</b>. It will
        ask which ones; nothing is downloaded before you agree. The device that leads sees what the agents
        here hand over, and the agents here read its questions. The two browsers learn each other’s network
        address.
      </p>
      <div class="code-tools">
        <button
          type="button"
          class="button strong"
          disabled={!system || joining.state === "making"}
          onClick={() => void devices.join()}
        >
          {joining.state === "making" ? "Joining…" : "Join"}
        </button>
        <button type="button" class="button" onClick={() => devices.leave()}>
          Not now
        </button>
      </div>
    </section>
  );
}

/** This device's name and, for devices in different networks, a STUN server. */
export function PairingSettings(): JSX.Element {
  const { devices } = useStore();
  const [name, stun] = [useId(), useId()];
  const fixed = devices.role.value !== "alone";
  return (
    <details class="pairing-settings">
      <summary>This device’s name, and devices in different networks</summary>
      <div class="field">
        <label for={name}>Others see this device as</label>
        <input
          id={name}
          type="text"
          maxLength={40}
          value={devices.name.value}
          disabled={fixed}
          onChange={(event) => devices.rename(event.currentTarget.value)}
        />
      </div>
      <div class="field">
        <label for={stun}>STUN server (none by default)</label>
        <input
          id={stun}
          type="text"
          placeholder="stun:stun.example.org:3478"
          spellcheck={false}
          value={devices.stun.value}
          onChange={(event) => devices.setStun(event.currentTarget.value)}
        />
      </div>
      <p>
        Without a STUN server devices find each other within one network, such as a Wi-Fi. A STUN server tells
        each of them its public address, and sees that address; set one on both devices, and only if you need
        it.
      </p>
    </details>
  );
}
