/** The Chat view: free questions to the whole system and to its deciding agent alone, with the thoughts as words. */
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { formatCount, formatDuration } from "../lib/format";
import { planFields } from "../model/fields";
import { limitsOf, measuredWords, trainedOn } from "../model/honest";
import { lensesOf } from "../model/recording";
import { arranged } from "../model/settings";
import { firstLarge, hasWords } from "../model/words";
import { AskedFacts } from "../parts/asked-facts";
import { Estimate } from "../parts/estimate";
import { FieldBoxes } from "../parts/field-boxes";
import { Thoughts } from "../parts/thoughts";
import { useLarge } from "../parts/use-large";
import { type Exchange, VOICES, type Voice, type VoiceMode } from "../state/chat";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";
import { spokenAnswer } from "../task/tools";

export function ChatView(): JSX.Element {
  const { chat, session } = useStore();
  useLarge();
  const system = session.system.value;
  if (!system) return <div class="stage-blank" />;
  const exchanges = chat.exchanges.value;
  return (
    <div class="chat">
      <div class="view-head">
        <h2>Ask anything</h2>
      </div>
      <p class="view-lead">
        Your question goes to the whole system, whose agents hand over thoughts and never words, and beside it
        to the {system.agents.at(-1)?.id} alone. The words closest to each thought appear while an agent
        thinks. Each question stands alone: nothing is remembered of the last one.
      </p>
      <Honesty open={exchanges.length === 0} />
      {exchanges.map((exchange) => (
        <ExchangeCard key={exchange.number} exchange={exchange} />
      ))}
    </div>
  );
}

/** What the links were trained on, what was measured, and what to expect. */
function Honesty({ open }: { open: boolean }): JSX.Element | null {
  const { session } = useStore();
  const system = session.system.value;
  if (!system) return null;
  const measured = measuredWords(system);
  return (
    <details class="honesty" open={open}>
      <summary>What to expect of {system.name}</summary>
      <p>
        {trainedOn(system)} {measured}
      </p>
      <p>{limitsOf(system)}</p>
      <Larger />
    </details>
  );
}

/** Offers a system of language models, if agents without words are open. */
function Larger(): JSX.Element | null {
  const { session, page } = useStore();
  const system = session.system.value;
  const large = firstLarge(session.catalog.value);
  if (!system || !large || hasWords(system)) return null;
  return (
    <button
      type="button"
      class="button"
      disabled={session.busy.value}
      onClick={() => openSystem({ page }, large.url)}
    >
      Open {large.name}, whose agents are language models
    </button>
  );
}

/** The question and the facts, in the place where other views have the task's question. */
export function ChatComposer({ onAsk }: { onAsk: () => void }): JSX.Element {
  const { chat, session, page, chatAsked } = useStore();
  const id = useId();
  const system = session.system.value;
  const busy = session.busy.value;
  const asked = chatAsked.value;
  const ready = session.phase.value === "ready" && !busy && chat.draft.value.trim() !== "";
  return (
    <section class="question composer" aria-label="Ask">
      <h2>
        <label for={id}>Your question</label>
      </h2>
      <textarea
        id={id}
        class="prose"
        rows={4}
        value={chat.draft.value}
        placeholder="Type anything"
        aria-keyshortcuts="Enter"
        onInput={(event) => chat.setDraft(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          if (ready) onAsk();
        }}
      />
      <small class="fine">Enter asks, Shift and Enter begins a new line.</small>
      {system && (
        <>
          <FieldBoxes
            plan={planFields(system, page.state.value)}
            system={arranged(system, page.state.value)}
            values={chat.fields.value}
            disabled={busy}
            onChange={(name, text) => chat.setField(name, text)}
          />
          {asked && <Estimate runs={VOICES.map((mode) => ({ ...asked.options, mode }))} />}
        </>
      )}
    </section>
  );
}

function ExchangeCard({ exchange }: { exchange: Exchange }): JSX.Element {
  const { asked, voices, number } = exchange;
  const { latent } = voices;
  const id = `exchange-${number}`;
  return (
    <article class="exchange" aria-labelledby={id}>
      <h3 id={id}>{asked.options.question}</h3>
      <AskedFacts options={asked.options} />
      <div class="voices">
        {VOICES.map((mode) => (
          <VoiceCard key={mode} mode={mode} voice={voices[mode]} exchange={exchange} />
        ))}
      </div>
      {latent.progress.turns.length > 0 && (
        <section class="exchange-thoughts" aria-label="Thoughts as words">
          <h4>What they thought</h4>
          <Thoughts system={asked.system} progress={latent.progress} lenses={lensesOf(latent.events)} />
        </section>
      )}
    </article>
  );
}

interface VoiceCardProps {
  readonly mode: VoiceMode;
  readonly voice: Voice;
  readonly exchange: Exchange;
}

function VoiceCard({ mode, voice, exchange }: VoiceCardProps): JSX.Element {
  const { watch, page } = useStore();
  const { state, progress, recording } = voice;
  const { agents } = exchange.asked.system;
  const answer = spokenAnswer(progress.answer).trim();
  const waiting = { waiting: "waits for the system", running: "…", done: "no words", stopped: "stopped" };
  const look = (): void => {
    if (!recording) return;
    watch.open(recording);
    page.set({ view: "watch" });
  };
  return (
    <section class={`voice ${state}`}>
      <h4>{mode === "latent" ? "The whole system" : `The ${agents.at(-1)?.id} alone`}</h4>
      <p
        class={answer ? "voice-answer" : "voice-answer empty"}
        aria-live="polite"
        aria-busy={state === "running"}
      >
        {answer || waiting[state]}
      </p>
      <p class="voice-figures">
        {progress.latentSteps > 0 && `${formatCount(progress.latentSteps)} thoughts · `}
        {formatCount(progress.decodedTokens)} decoded token{progress.decodedTokens === 1 ? "" : "s"}
        {recording?.result && ` · ${formatDuration(recording.result.ms)}`}
      </p>
      <button type="button" class="link" disabled={!recording} onClick={look}>
        Watch this run
      </button>
    </section>
  );
}
