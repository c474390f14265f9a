// The page only draws. `asker.js` holds the system and works through the questions.
const worker = new Worker("asker.js", { type: "module" });
const list = document.querySelector("ol");
const output = document.querySelector("output");

worker.onmessage = ({ data }) => {
  if (data.kind === "answer") {
    const item = document.createElement("li");
    item.textContent = `${data.question}: ${data.answer}`;
    list.append(item);
  } else {
    output.value = data.words;
  }
};
worker.postMessage({
  system: new URLSearchParams(location.search).get("system") ?? "systems/hop-sequential/system.json",
  questions: 2,
});
