/** Shows what went wrong and what the visitor can do about it. */
import type { JSX } from "preact";
import { memoryOf, processorProblem } from "../../engine/api";
import type { Remedy } from "../state/problems";
import { useStore } from "../state/store";

const LABELS: Record<Remedy, string> = {
  "reload-system": "Load the agents again and go on",
  "try-again": "Try again",
  "own-links": "Use the system’s own links",
  "one-by-one": "Load the agents one after another",
  "on-processor": "Run without a graphics card",
  "reset-settings": "Use the system’s own settings",
  "choose-system": "Choose another system",
  dismiss: "OK",
};

export function ProblemBanner({ onChooseSystem }: { onChooseSystem: () => void }): JSX.Element {
  const { session, page, watch } = useStore();
  const problem = session.problem.value;
  const system = session.system.value;
  const memory = system && memoryOf(system);
  const helps = !session.oneByOne.value && memory && memory.oneByOneBytes < memory.togetherBytes;
  const small = system && processorProblem(system) === undefined;
  const remedies = (problem?.remedies ?? []).filter(
    (remedy) => (remedy !== "one-by-one" || helps) && (remedy !== "on-processor" || small),
  );
  const actions: Record<Remedy, () => void> = {
    "reload-system": () =>
      void session.load().then(() => (session.phase.value === "ready" ? watch.resume() : undefined)),
    "try-again": () => void session.tryAgain(),
    "reset-settings": () => {
      page.reset();
      session.dismissProblem();
    },
    "one-by-one": () => void session.setOneByOne(true).then(() => session.load()),
    "on-processor": () => void session.useProcessor(),
    "own-links": () => void session.useLinks(undefined),
    "choose-system": onChooseSystem,
    dismiss: () => session.dismissProblem(),
  };
  return (
    <div role="alert" class="problem-host">
      {problem && (
        <section class="problem" data-code={problem.code}>
          <h2>{problem.title}</h2>
          <p>{problem.advice}</p>
          <details>
            <summary>Technical details</summary>
            <code>{problem.detail}</code>
          </details>
          <div class="problem-actions">
            {remedies.map((remedy) => (
              <button key={remedy} type="button" onClick={actions[remedy]}>
                {LABELS[remedy]}
              </button>
            ))}
          </div>
        </section>
      )}
    </div>
  );
}
