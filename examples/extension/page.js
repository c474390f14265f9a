import { loadSystem } from "./recursivemas/recursivemas.js";

const form = document.querySelector("form");
const output = document.querySelector("output");

try {
  // Files of the extension are on this machine already, so that they need no second copy in the browser's cache.
  const system = await loadSystem("systems/hop-sequential/system.json", {
    cache: false,
    onProgress: ({ label }) => {
      output.value = label;
    },
  });
  form.question.value = system.questions[0]?.question ?? "";
  form.querySelector("button").disabled = false;
  output.value = "Ready.";
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.value = "Thinking…";
    try {
      const { answer } = await system.run({ question: form.question.value });
      output.value = `Answer: ${answer}`;
    } catch (error) {
      output.value = error.message;
    }
  });
} catch (error) {
  output.value = error.message;
}
