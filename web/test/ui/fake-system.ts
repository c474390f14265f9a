/** Systems as `rmas build` would describe them, for the stand-in engine and the unit tests. */
import { parseSystem, type System } from "../../src/engine/system";

interface Shape {
  readonly agents: readonly string[];
  readonly edges: readonly (readonly [from: string, to: string, feedback: boolean])[];
}

const SHAPES: Record<string, Shape> = {
  sequential: {
    agents: ["planner", "critic", "solver"],
    edges: [
      ["planner", "critic", false],
      ["critic", "solver", false],
      ["solver", "planner", true],
    ],
  },
  mixture: {
    agents: ["explorer", "scholar", "summarizer"],
    edges: [
      ["explorer", "summarizer", false],
      ["scholar", "summarizer", false],
      ["summarizer", "explorer", true],
      ["summarizer", "scholar", true],
    ],
  },
  distillation: {
    agents: ["expert", "learner"],
    edges: [
      ["expert", "learner", false],
      ["learner", "expert", true],
    ],
  },
};

/** Two language models that have facts of their own, as a manifest. */
export function factSystem(): System {
  const agent = (id: string, template: string, from: string): unknown => ({
    id,
    role: id,
    model: "HuggingFaceTB/SmolLM2-135M-Instruct",
    architecture: "llama",
    path: "smollm2/",
    model_lib: "smollm2/smollm2-q4f32_1-webgpu.wasm",
    quantization: "q4f32_1",
    dtype: "float32",
    hidden_size: 576,
    num_hidden_layers: 30,
    vocab_size: 49152,
    context_window_size: 1024,
    prefill_chunk_size: 512,
    memory_bytes: 210_000_000,
    stop_token_ids: [2],
    prompt: { template: `${template} {latent:${from}->${id}}` },
  });
  const cell = { control: "none", latent_steps: 8, questions: 600, decoded_tokens: 3.1 };
  return parseSystem(
    JSON.stringify({
      format: "recursivemas.system",
      version: 1,
      name: "split-facts",
      description:
        "A reader and a solver each know half of the facts, and answer together what neither knows alone.",
      pattern: "deliberation",
      rounds: 3,
      latent_steps: 8,
      decoding: { max_new_tokens: 12 },
      agents: [
        agent("reader", "Facts:\n{reader_facts}\nRequest:", "solver"),
        agent("solver", "Facts:\n{solver_facts}\nQuestion: {question}\nNotes:", "reader"),
      ],
      edges: [
        { id: "reader->solver", from: "reader", to: "solver" },
        { id: "solver->reader", from: "solver", to: "reader", feedback: true },
      ],
      task: {
        name: "split",
        description:
          "Each agent knows some facts about people and places, and the question needs several of them.",
        scoring: "contains",
        questions: "questions.json",
      },
      links: "recursivelink.json",
      memory_bytes: 214_000_000,
      files: [
        ["smollm2/smollm2-q4f32_1-webgpu.wasm", 4_100_000],
        ["smollm2/params_shard_0.bin", 84_190_464],
        ["smollm2/tensor-cache.json", 60_000],
        ["smollm2/tokenizer.json", 2_100_000],
        ["recursivelink.json", 9_400_000],
        ["questions.json", 161_000],
      ].map(([path, size_bytes]) => ({ path, size_bytes, sha256: "0".repeat(64) })),
      provenance: {
        links: {
          data: "generator:split",
          seed: 0,
          rounds: 3,
          latent_steps: 8,
          training: { variant: "ln_res" },
        },
        measured: {
          split: {
            data: "split-test.jsonl",
            seed: 0,
            cells: [
              { ...cell, mode: "latent", rounds: 3, accuracy: 0.91, low: 0.885, high: 0.93 },
              { ...cell, mode: "single", rounds: 1, accuracy: 0.04, low: 0.03, high: 0.06 },
            ],
          },
        },
      },
    }),
    "made up",
  );
}

const SIZES = [96, 128, 160];
const MODELS = ["Qwen/Qwen3-0.6B", "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-Math-1.5B-Instruct"];
const FAMILIES = ["qwen3", "llama", "qwen2"];

export function fakeSystem(pattern = "sequential"): System {
  const shape = SHAPES[pattern] ?? (SHAPES.sequential as Shape);
  const file = (path: string, sizeBytes: number): unknown => ({
    path,
    size_bytes: sizeBytes,
    sha256: "0".repeat(64),
  });
  const manifest = {
    format: "recursivemas.system",
    version: 1,
    name: `hop-${pattern}`,
    description:
      "A planner, a critic and a solver of three model families follow a chain of arrows, two hops a turn.",
    pattern,
    rounds: 3,
    latent_steps: 2,
    decoding: { max_new_tokens: 4, think_before_answer: true, answer_prefix: "=" },
    agents: shape.agents.map((id, index) => ({
      id,
      role: id,
      model: MODELS[index],
      architecture: FAMILIES[index],
      path: `${id}/`,
      model_lib: `${id}/${id}-q0f32-webgpu.wasm`,
      quantization: "q0f32",
      dtype: "float32",
      hidden_size: SIZES[index],
      num_hidden_layers: 2,
      vocab_size: 800,
      context_window_size: 256,
      prefill_chunk_size: 256,
      memory_bytes: 7_000_000,
      stop_token_ids: [2],
      prompt: {
        template: `<bos> ${id} {question} ${shape.edges
          .filter(([, to]) => to === id)
          .map(([from]) => `{latent:${from}->${id}}`)
          .join(" ")} go`,
      },
      ...(index === 0 ? { first_round_prompt: { template: `<bos> ${id} {question} go` } } : {}),
    })),
    edges: shape.edges.map(([from, to, feedback]) => ({ id: `${from}->${to}`, from, to, feedback })),
    task: {
      name: "hop",
      description: "Where is one after k hops?",
      scoring: "exact",
      questions: "questions.json",
    },
    links: "recursivelink.json",
    memory_bytes: 22_000_000,
    files: [
      ...shape.agents.flatMap((id, index) => [
        file(`${id}/${id}-q0f32-webgpu.wasm`, 4_100_000),
        file(`${id}/params_shard_0.bin`, 1_000_000 + 700_000 * index),
        file(`${id}/tensor-cache.json`, 9_000),
        file(`${id}/tokenizer.json`, 21_000),
      ]),
      file("recursivelink.json", 2_400_000),
      file("questions.json", 61_000),
    ],
  };
  return { ...parseSystem(JSON.stringify(manifest), "made up"), sha256: "0".repeat(64) };
}
