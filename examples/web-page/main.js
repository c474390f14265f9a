import { loadSystem } from "./recursivemas/recursivemas.js";

const form = document.querySelector("form");
const output = document.querySelector("output");
const url = new URLSearchParams(location.search).get("system") ?? "systems/hop-sequential/system.json";

try {
  const system = await loadSystem(url, {
    onProgress: ({ label, fraction }) => {
      document.querySelector("progress").value = fraction;
      output.value = label;
    },
  });
  form.question.value = system.questions[0]?.question ?? "";
  form.querySelector("button").disabled = false;
  output.value = "Ready.";
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    form.querySelector("button").disabled = true;
    try {
      const onEvent = (each) => {
        if (each.kind === "turn-start") output.value = `The ${each.agent} thinks, round ${each.round + 1}.`;
      };
      const { answer } = await system.run({ question: form.question.value }, { onEvent });
      output.value = `Answer: ${answer}`;
    } catch (error) {
      output.value = error.message;
    }
    form.querySelector("button").disabled = false;
  });
} catch (error) {
  output.value = error.message;
}
