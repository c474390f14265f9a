/** The How it works view: a guided run that explains latent thoughts, links and rounds. */
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { type Chapter, chaptersOf, unplayedChapters } from "../model/chapters";
import { planFields } from "../model/fields";
import { limitsOf } from "../model/honest";
import { type Finished, isFinished, lensesOf, type Recording } from "../model/recording";
import { firstLarge, firstSmall, hasWords } from "../model/words";
import { Estimate } from "../parts/estimate";
import { Graph } from "../parts/graph";
import { Provenance } from "../parts/provenance";
import { Score } from "../parts/score";
import { useLarge } from "../parts/use-large";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";

export function ExplainView(): JSX.Element {
  const { watch, asked, session, page } = useStore();
  useLarge();
  const recording = watch.recording.value;
  const base = recording ?? asked.value;
  const chapter = useSignal(0);
  const guided = isGuidable(recording);
  const system = session.system.value;
  const apart = system !== undefined && planFields(system, page.state.value).own.length > 1;
  const about = { agents: base?.system.agents ?? [], apart };
  const chapters = guided ? chaptersOf(about, recording.events) : unplayedChapters(about);
  const at = Math.min(chapter.value, chapters.length - 1);
  const current = chapters[at];
  useSignalEffect(() => {
    // A new run starts the guide from the beginning.
    if (watch.job.running.value) chapter.value = 0;
  });
  useEffect(() => {
    const before = { recording: watch.recording.peek(), frame: watch.frame.peek() };
    // The guide replays the run that the other views show. They get it back as it was, and a new run at its end.
    return () => {
      watch.pause();
      watch.seek(watch.recording.peek() === before.recording ? before.frame : Number.POSITIVE_INFINITY);
    };
  }, [watch]);
  const opening = guided ? chapters[0]?.until : undefined;
  useEffect(() => {
    if (opening !== undefined) watch.seek(opening);
  }, [recording?.result, opening, watch]);
  const go = (next: number): void => {
    chapter.value = next;
    const until = chapters[next]?.until;
    if (guided && until !== undefined) watch.play(until);
  };
  const replay = (): void => {
    watch.seek(chapters[at - 1]?.until ?? 0);
    go(at);
  };
  return (
    <div class="explain">
      <div class="view-head">
        <h2>How they think together</h2>
      </div>
      {base && (
        <div class="explain-stage">
          <Graph
            system={base.system}
            progress={watch.progress.value}
            lenses={recording ? lensesOf(recording.events) : []}
            latentSteps={base.options.latentSteps ?? 1}
            off={[]}
            point={current?.point}
          />
          {recording && (
            <Score
              system={base.system}
              options={base.options}
              progress={watch.progress.value}
              lenses={lensesOf(recording.events)}
              selection={undefined}
              onSelect={undefined}
            />
          )}
        </div>
      )}
      {current && (
        <ChapterText chapter={current} at={at} of={chapters.length} go={go} replay={replay} guided={guided} />
      )}
      <Notes />
    </div>
  );
}

/** The guide explains what happens in latent mode. */
function isGuidable(recording: Recording | undefined): recording is Finished {
  return isFinished(recording) && recording.options.mode === "latent";
}

interface ChapterTextProps {
  readonly chapter: Chapter;
  readonly at: number;
  readonly of: number;
  readonly go: (next: number) => void;
  readonly replay: () => void;
  readonly guided: boolean;
}

function ChapterText({ chapter, at, of, go, replay, guided }: ChapterTextProps): JSX.Element {
  return (
    <section class="chapter" aria-label="Guided run">
      <div class="chapter-text" aria-live="polite">
        <p class="chapter-count">
          {at + 1} of {of}
        </p>
        <h3>{chapter.title}</h3>
        {chapter.words.map((each) => (
          <p key={each}>{each}</p>
        ))}
      </div>
      <div class="chapter-tools">
        <button type="button" class="button" disabled={at === 0} onClick={() => go(at - 1)}>
          Back
        </button>
        <button type="button" class="button strong" disabled={at === of - 1} onClick={() => go(at + 1)}>
          Next
        </button>
        {guided ? (
          <button type="button" class="link" onClick={replay}>
            Play this part again
          </button>
        ) : (
          <>
            <Begin />
            <Others />
          </>
        )}
      </div>
    </section>
  );
}

/**
 * Starts a run, which the guide then explains. Tiny agents load and run with one click. Language models only load, so
 * that the visitor sees how long a run takes here before it begins. In latent mode the main button runs the same and
 * says the time; in another mode both are said.
 */
function Begin(): JSX.Element {
  const { session, watch, asked, page } = useStore();
  const phase = session.phase.value;
  const system = session.system.value;
  const current = asked.value;
  const large = system !== undefined && hasWords(system);
  const own = current !== undefined && current.options.mode !== "latent" && !watch.job.running.value;
  const start = async (): Promise<void> => {
    page.set({ mode: "latent" });
    if (phase !== "ready") {
      await session.load();
      if (large) return;
    }
    if (session.phase.value === "ready" && asked.value) await watch.start(asked.value);
  };
  return (
    <>
      <button
        type="button"
        class="link"
        disabled={phase === "opening" || phase === "loading" || session.busy.value}
        onClick={() => void start()}
      >
        {phase === "loading"
          ? "Loading the agents…"
          : phase === "ready"
            ? "Run it and watch"
            : large
              ? "Load the agents"
              : "Load the agents and watch a run"}
      </button>
      {own && <Estimate runs={[{ ...current.options, mode: "latent" }]} />}
    </>
  );
}

/** Offers tiny agents, which answer at once, if language models are open, and language models otherwise. */
function Others(): JSX.Element | null {
  const { session, page } = useStore();
  const open = session.system.value;
  const catalog = session.catalog.value;
  const small = open && hasWords(open) ? firstSmall(catalog, open.name) : undefined;
  const large = open && !hasWords(open) ? firstLarge(catalog, open.name) : undefined;
  const other = small ?? large;
  if (!other) return null;
  return (
    <button
      type="button"
      class="link"
      disabled={session.busy.value}
      onClick={() => openSystem({ page }, other.url)}
    >
      {`Open ${other.name}, whose agents ${small ? "are tiny and answer at once" : "are language models"}`}
    </button>
  );
}

function Notes(): JSX.Element {
  const { session } = useStore();
  const system = session.system.value;
  const task = system?.task;
  return (
    <section class="notes">
      <h3>What this is and what it is not</h3>
      <p>
        Everything runs on your own graphics card, in this page. The agents are compiled to WebAssembly and
        WebGPU, and your questions do not leave your machine. The method is RecursiveMAS, described in{" "}
        <a href="https://arxiv.org/abs/2604.25917" rel="noreferrer noopener">
          arXiv 2604.25917
        </a>
        . This is an independent implementation.
      </p>
      <p>
        {system && hasWords(system)
          ? `${limitsOf(system)} `
          : "The tiny systems of this project are demonstrations. Their agents know one puzzle and have no words for anything else. "}
        They show how thoughts are passed on and why rounds matter, not what large agents can do. To see
        whether text does as well, use Compare and Measure, which ask both the same questions.
      </p>
      {task?.description && (
        <p>
          The task: <i>{task.description}</i>
        </p>
      )}
      {system && <Provenance system={system} />}
    </section>
  );
}
