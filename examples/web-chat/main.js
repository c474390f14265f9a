import { loadSystem } from "./recursivemas/recursivemas.js";

const form = document.querySelector("form");
const button = form.querySelector("button");
const output = document.querySelector("output");
const url = new URLSearchParams(location.search).get("system") ?? "systems/hop-sequential/system.json";

/** Adds an element with a text; never HTML, because answers and questions may hold anything. */
function add(parent, name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  parent.append(element);
  return element;
}

/** One line for a turn: the agent, and for each latent thought the word that it is closest to. */
function showTurn(turns, { agent, round, lens = [] }) {
  const line = add(turns, "div", "", "turn");
  add(line, "b", `${agent} ${round + 1}`);
  for (const likeliest of lens) {
    const [first] = likeliest;
    if (!first) continue;
    const thought = add(line, "span", first.text.trim() || "␣", "thought");
    thought.title = likeliest.map(({ text, probability }) => `${text} ${Math.round(100 * probability)} %`).join(", ");
  }
}

async function ask(system, question) {
  const article = add(document.querySelector("main"), "article", "");
  add(article, "p", question, "question");
  const turns = add(article, "div", "");
  const answer = add(article, "p", "…", "answer");
  let text = "";
  const onEvent = (event) => {
    if (event.kind === "turn-end") showTurn(turns, event);
    if (event.kind === "token" && event.answer) {
      text = text.slice(0, text.length - (event.replaces ?? 0)) + event.text;
      answer.textContent = text;
    }
  };
  // The logit lens: for each thought the three likeliest tokens. Reading them back costs no time of the run itself.
  const result = await system.run({ question, trace: { lensTopK: 3 } }, { onEvent });
  answer.textContent = result.answer;
}

try {
  const system = await loadSystem(url, {
    onProgress: ({ label, fraction }) => {
      output.value = `${Math.round(100 * fraction)} %: ${label}`;
    },
  });
  form.question.value = system.questions[0]?.question ?? "";
  output.value = "";
  button.disabled = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    output.value = "";
    await ask(system, form.question.value).catch((error) => {
      output.value = error.message;
    });
    button.disabled = false;
  });
} catch (error) {
  output.value = error.message;
}
