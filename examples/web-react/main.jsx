import { useState } from "react";
import { createRoot } from "react-dom/client";
import { useSystem } from "./use-system.js";

const url = new URLSearchParams(location.search).get("system") ?? "systems/hop-sequential/system.json";

function App() {
  const { system, progress, error } = useSystem(url);
  if (error) return <output>{error.message}</output>;
  if (!system) return <progress max="1" value={progress} />;
  return <Ask system={system} />;
}

function Ask({ system }) {
  const [question, setQuestion] = useState(system.questions[0]?.question ?? "");
  const [words, setWords] = useState("Ready.");
  const [busy, setBusy] = useState(false);
  const ask = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const onEvent = (each) => {
        if (each.kind === "step") setWords(`${each.agent}, thought ${each.step + 1} of ${each.of}`);
      };
      const { answer } = await system.run({ question }, { onEvent });
      setWords(`Answer: ${answer}`);
    } catch (thrown) {
      setWords(thrown.message);
    }
    setBusy(false);
  };
  return (
    <form onSubmit={ask}>
      <label>
        Question <input size={50} value={question} onChange={(event) => setQuestion(event.target.value)} />
      </label>
      <button disabled={busy}>Ask</button>
      <p>
        <output>{words}</output>
      </p>
    </form>
  );
}

createRoot(document.getElementById("root")).render(<App />);
