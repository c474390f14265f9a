/** The Look inside view: the words closest to each thought, how alike thoughts are, how long, and what an edge is worth. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { FormatError } from "../../formats/errors";
import { writeSavedRun } from "../../formats/saved-run";
import { saveFile } from "../lib/save";
import { readText } from "../model/folder";
import { type Finished, isFinished } from "../model/recording";
import { type Space, spacesOf } from "../model/spaces";
import { AskedFacts } from "../parts/asked-facts";
import { Cuts } from "../parts/cuts";
import { Changes } from "../parts/early-stop";
import { Heatmap } from "../parts/heatmap";
import { LensTable } from "../parts/lens-table";
import { Norms } from "../parts/norms";
import { openRun } from "../state/open";
import { useStore } from "../state/store";

export function InsideView(): JSX.Element {
  const { watch } = useStore();
  const recording = watch.recording.value;
  const finished = isFinished(recording) ? recording : undefined;
  return (
    <div class="inside">
      <div class="view-head">
        <h2>Inside the thoughts</h2>
        <TraceTools finished={finished} />
      </div>
      {finished ? <Opened key={finished.result.ms} finished={finished} /> : <Nothing />}
    </div>
  );
}

function Nothing(): JSX.Element {
  const { watch } = useStore();
  return (
    <p class="view-empty">
      {watch.job.running.value
        ? "The run is not finished yet. You can look inside it when it has ended."
        : "Run a question or open a saved run. Then you can look at every thought on the way to the answer."}
    </p>
  );
}

function TraceTools({ finished }: { finished: Finished | undefined }): JSX.Element {
  const store = useStore();
  const { watch } = store;
  const input = useRef<HTMLInputElement>(null);
  const open = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    try {
      openRun(store, await readText(file.name, file, FormatError));
    } catch (error) {
      store.session.fail(error);
    }
    if (input.current) input.current.value = "";
  };
  return (
    <div class="view-tools">
      <button
        type="button"
        class="button"
        disabled={!finished}
        onClick={() =>
          finished &&
          saveFile(`${finished.system.name}-run.json`, writeSavedRun(finished), "application/json")
        }
      >
        Save this run
      </button>
      <button
        type="button"
        class="button"
        disabled={watch.job.running.value}
        onClick={() => input.current?.click()}
      >
        Open a saved run
      </button>
      <input
        ref={input}
        type="file"
        accept=".json,application/json"
        class="visually-hidden"
        tabIndex={-1}
        aria-label="Saved run"
        onChange={(event) => void open(event.currentTarget.files?.[0])}
      />
    </div>
  );
}

function Opened({ finished }: { finished: Finished }): JSX.Element {
  const { system, result } = finished;
  const spaces = useMemo(() => spacesOf(system, result), [system, result]);
  return (
    <>
      {finished.options.fields && (
        <section class="inside-part">
          <h3>{finished.options.question}</h3>
          <AskedFacts options={finished.options} />
        </section>
      )}
      <section class="inside-part">
        <h3>The words closest to each thought</h3>
        <p>
          A latent thought is a vector. Its agent’s own output head turns it into probabilities of words,
          which the agents themselves never see. The darker a word, the likelier it is.
        </p>
        <LensTable system={system} result={result} />
      </section>
      {spaces.length > 0 && <Alike spaces={spaces} finished={finished} />}
      <Lengths spaces={spaces} finished={finished} />
      <Changes system={system} options={finished.options} result={result} />
      <section class="inside-part">
        <h3>What a hand-off is worth</h3>
        <p>
          The page asks the same question again, each time without what one edge carries, and shows how the
          answer and the thoughts change.
        </p>
        <Cuts finished={finished} />
      </section>
    </>
  );
}

function Alike({ spaces, finished }: { spaces: readonly Space[]; finished: Finished }): JSX.Element {
  const chosen = useSignal(spaces[0]?.id ?? "");
  const space = spaces.find(({ id }) => id === chosen.value) ?? spaces[0];
  return (
    <section class="inside-part">
      <h3>How alike the thoughts are</h3>
      <p>
        Different agents have different vector spaces, so angles can be compared only within one agent. Across
        agents, the page compares the words that their thoughts are closest to.
      </p>
      <label class="inline-field">
        Compare{" "}
        <select value={space?.id} onChange={(event) => (chosen.value = event.currentTarget.value)}>
          {spaces.map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </select>
      </label>
      {space && <Heatmap space={space} system={finished.system} />}
    </section>
  );
}

function Lengths({ spaces, finished }: { spaces: readonly Space[]; finished: Finished }): JSX.Element | null {
  const measured = spaces.filter(({ id }) => id.startsWith("thoughts/"));
  if (measured.length === 0) return null;
  return (
    <section class="inside-part">
      <h3>How long the thoughts are</h3>
      <p>The length of every thought vector, step by step. If a link drifted, its line would climb.</p>
      <Norms spaces={measured} system={finished.system} />
    </section>
  );
}
