import { loadSystem } from "./recursivemas/recursivemas.js";

self.onmessage = async ({ data }) => {
  const say = (words) => self.postMessage({ kind: "words", words });
  try {
    const system = await loadSystem(data.system, { onProgress: ({ label }) => say(label) });
    for (const { question } of system.questions.slice(0, data.questions)) {
      const { answer } = await system.run({ question });
      self.postMessage({ kind: "answer", question, answer });
    }
    await system.dispose();
    say("Done; the GPU is free again.");
  } catch (error) {
    say(error.message);
  }
};
