// Written by `make generate` from core/recursivemas/system. Do not edit.
import type { DecodingSetting } from "../decoding";
import type {
  Activation,
  ActivationInfo,
  FileRole,
  FileRoleInfo,
  HubTag,
  HubTagInfo,
  LinkVariant,
  LinkVariantInfo,
  Mode,
  ModeInfo,
  Pattern,
  PatternInfo,
  Quantization,
  QuantizationInfo,
  Scoring,
  ScoringInfo,
  StopReason,
  StopReasonInfo,
  Tool,
  ToolInfo,
} from "./types";

export type {
  Activation,
  ActivationInfo,
  FileRole,
  FileRoleInfo,
  HubTag,
  HubTagInfo,
  LinkVariant,
  LinkVariantInfo,
  Mode,
  ModeInfo,
  Pattern,
  PatternInfo,
  Quantization,
  QuantizationInfo,
  Scoring,
  ScoringInfo,
  StopReason,
  StopReasonInfo,
  Tool,
  ToolInfo,
};
export const MAX_AGENTS = 64;
export const MAX_ROUNDS = 64;
export const MAX_LATENT_STEPS = 1024;
export const ABI_VERSION = 1;
export const MODES: readonly ModeInfo[] = [
  {
    name: "latent",
    label: "Latent",
    description: "Agents hand over thoughts, never words; only the last one writes.",
    rounds: true,
    handoffs: true,
    writes: false,
  },
  {
    name: "text",
    label: "Text",
    description: "The same agents and rounds, but they write to each other.",
    rounds: true,
    handoffs: true,
    writes: true,
  },
  {
    name: "loop",
    label: "Loop",
    description: "The last agent alone, thinking as many steps as all agents together.",
    rounds: true,
    handoffs: false,
    writes: false,
  },
  {
    name: "single",
    label: "Single",
    description: "The last agent alone, answering at once.",
    rounds: false,
    handoffs: false,
    writes: false,
  },
];
export const MODE_NAMES: readonly Mode[] = ["latent", "text", "loop", "single"];
export const PATTERNS: readonly PatternInfo[] = [
  {
    name: "sequential",
    label: "Sequential",
    description: "Each agent hands over to the next, and the last one to the first in the next round.",
  },
  {
    name: "mixture",
    label: "Mixture",
    description: "Experts hand over to a summarizer, which answers and hands back to them in the next round.",
  },
  {
    name: "distillation",
    label: "Distillation",
    description:
      "A large agent and a small one: the large one hands over, the small one answers and hands back.",
  },
  {
    name: "deliberation",
    label: "Deliberation",
    description: "Two agents reflect in turn; the second may use tools, answers and hands back.",
  },
  { name: "graph", label: "Graph", description: "Any other graph; its edges are listed." },
];
export const PATTERN_NAMES: readonly Pattern[] = [
  "sequential",
  "mixture",
  "distillation",
  "deliberation",
  "graph",
];
export const QUANTIZATIONS: readonly QuantizationInfo[] = [
  {
    name: "q0f32",
    label: "float32",
    description: "float32, not quantized",
    dtype: "float32",
    grouped: false,
  },
  {
    name: "q0f16",
    label: "float16",
    description: "float16, not quantized",
    dtype: "float16",
    grouped: false,
  },
  {
    name: "q4f32_1",
    label: "4-bit, float32",
    description: "4-bit groups of 32, float32 activations",
    dtype: "float32",
    grouped: true,
  },
  {
    name: "q4f16_1",
    label: "4-bit, float16",
    description: "4-bit groups of 32, float16 activations (needs the WebGPU feature `shader-f16`)",
    dtype: "float16",
    grouped: true,
  },
];
export const QUANTIZATION_NAMES: readonly Quantization[] = ["q0f32", "q0f16", "q4f32_1", "q4f16_1"];
export const SCORINGS: readonly ScoringInfo[] = [
  {
    name: "exact",
    label: "Exact",
    description: "The text is the same, apart from case and punctuation.",
    complete: true,
  },
  {
    name: "contains",
    label: "Contains",
    description: "The answer contains the right one, apart from case, as whole words.",
    complete: true,
  },
  {
    name: "numeric",
    label: "Numeric",
    description: "The last number of the answer is the right one.",
    complete: true,
  },
  {
    name: "any_number",
    label: "Any number",
    description: "The right number is anywhere in the answer.",
    complete: true,
  },
  {
    name: "choice",
    label: "Choice",
    description: "The answer names the right choice, by its letter, place or text.",
    complete: true,
  },
  {
    name: "math",
    label: "Mathematics",
    description: "The answer is the same expression; the page only recognises the same number or text.",
    complete: false,
  },
];
export const SCORING_NAMES: readonly Scoring[] = [
  "exact",
  "contains",
  "numeric",
  "any_number",
  "choice",
  "math",
];
export const TOOLS: readonly ToolInfo[] = [
  {
    name: "calculator",
    label: "Calculator",
    description: "Computes an arithmetic expression.",
    consent: false,
    browser: true,
  },
  {
    name: "python",
    label: "Python",
    description: "Runs a program in a limited process and reads what it prints; only the reference has it.",
    consent: false,
    browser: false,
  },
  {
    name: "search",
    label: "Search",
    description:
      "Reads the opening sentences of an encyclopedia's best match; in the reference, asks a command.",
    consent: true,
    browser: true,
  },
];
export const TOOL_NAMES: readonly Tool[] = ["calculator", "python", "search"];
export const STOP_REASONS: readonly StopReasonInfo[] = [
  { name: "stop-token", label: "Stop token", description: "The agent ended its answer." },
  {
    name: "stop-string",
    label: "Stop string",
    description: "The answer reached a text that the system stops at.",
  },
  {
    name: "max-new-tokens",
    label: "Longest answer",
    description: "The answer reached its largest number of tokens.",
  },
  {
    name: "max-tool-calls",
    label: "Most calls of tools",
    description: "A call beyond the limit ended the answer.",
  },
  { name: "context-full", label: "Context full", description: "The agent's context window is full." },
];
export const STOP_REASON_NAMES: readonly StopReason[] = [
  "stop-token",
  "stop-string",
  "max-new-tokens",
  "max-tool-calls",
  "context-full",
];
export const LINK_VARIANTS: readonly LinkVariantInfo[] = [
  {
    name: "paper",
    label: "Paper",
    description: "As the paper prints it: two matrices, GELU and a residual path.",
    activation: "gelu",
    inner: [
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: true },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: true },
    ],
    outer: [
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: true },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: true },
      { name: "w3", shape: ["target", "source"], optional: false },
      { name: "b3", shape: ["target"], optional: true },
    ],
  },
  {
    name: "ln_res",
    label: "Layer norm",
    description: "As the paper's authors released it: a layer norm before and after.",
    activation: "gelu",
    inner: [
      { name: "ln_pre.weight", shape: ["source"], optional: false },
      { name: "ln_pre.bias", shape: ["source"], optional: false },
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: false },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: false },
      { name: "ln_post.weight", shape: ["target"], optional: false },
      { name: "ln_post.bias", shape: ["target"], optional: false },
    ],
    outer: [
      { name: "ln_source.weight", shape: ["source"], optional: false },
      { name: "ln_source.bias", shape: ["source"], optional: false },
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: false },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: false },
      { name: "w3", shape: ["target", "source"], optional: false },
      { name: "b3", shape: ["target"], optional: false },
      { name: "ln_target.weight", shape: ["target"], optional: false },
      { name: "ln_target.bias", shape: ["target"], optional: false },
    ],
  },
  {
    name: "normed",
    label: "Unit length",
    description:
      "As recursiveMASWebLLM trains it: the input is divided by its length; inner links have a scale.",
    activation: "gelu_tanh",
    inner: [
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: true },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: true },
      { name: "scale", shape: ["target"], optional: false },
    ],
    outer: [
      { name: "w1", shape: ["width", "source"], optional: false },
      { name: "b1", shape: ["width"], optional: true },
      { name: "w2", shape: ["target", "width"], optional: false },
      { name: "b2", shape: ["target"], optional: true },
      { name: "w3", shape: ["target", "source"], optional: false },
      { name: "b3", shape: ["target"], optional: true },
    ],
  },
];
export const LINK_VARIANT_NAMES: readonly LinkVariant[] = ["paper", "ln_res", "normed"];
export const ACTIVATIONS: readonly ActivationInfo[] = [
  { name: "gelu", label: "GELU", description: "The exact form, with erf." },
  { name: "gelu_tanh", label: "GELU, tanh", description: "The approximation with tanh." },
];
export const ACTIVATION_NAMES: readonly Activation[] = ["gelu", "gelu_tanh"];
export const FILES: readonly FileRoleInfo[] = [
  { name: "manifest", label: "Manifest", description: "Lists every other file.", file: "system.json" },
  {
    name: "bill_of_materials",
    label: "Bill of materials",
    description: "What the system was made of, in CycloneDX 1.6.",
    file: "sbom.cdx.json",
  },
  {
    name: "index",
    label: "Index of systems",
    description: "The systems that lie beside a page.",
    file: "index.json",
  },
  {
    name: "configuration",
    label: "Configuration",
    description: "An agent's configuration in MLC's form; ours is under the key \"recursivemas\".",
    file: "mlc-chat-config.json",
  },
  {
    name: "weights",
    label: "Index of weights",
    description: "Where each tensor lies in the shards.",
    file: "tensor-cache.json",
  },
  {
    name: "tokenizer",
    label: "Tokenizer",
    description: "An agent's tokenizer, as on the Hub.",
    file: "tokenizer.json",
  },
  {
    name: "shared_links",
    label: "Record of shared links",
    description: "Which agents the links of a repository fit, and what was measured with them.",
    file: "shared-links.json",
  },
];
export const FILE_NAMES: readonly FileRole[] = [
  "manifest",
  "bill_of_materials",
  "index",
  "configuration",
  "weights",
  "tokenizer",
  "shared_links",
];
export const HUB_TAGS: readonly HubTagInfo[] = [
  { name: "recursivemas", label: "System", description: "A repository of a built system." },
  {
    name: "recursivemas-links",
    label: "Shared links",
    description: "A repository of trained links without agents.",
  },
];
export const HUB_TAG_NAMES: readonly HubTag[] = ["recursivemas", "recursivemas-links"];
/** The decoding settings, with what their controls need. */
export const DECODING: readonly DecodingSetting[] = [
  {
    name: "maxNewTokens",
    key: "max_new_tokens",
    type: "integer",
    title: "Longest answer, in tokens",
    description: "Decoding stops after this many tokens.",
    default: 256,
    nullable: false,
    least: 1,
    min: 1,
    max: 4096,
  },
  {
    name: "temperature",
    key: "temperature",
    type: "number",
    title: "Temperature",
    description: "0 always takes the likeliest token. Without a number, as each agent's checkpoint says.",
    default: 0,
    nullable: true,
    least: 0,
    most: 10,
    min: 0,
    max: 10,
  },
  {
    name: "topP",
    key: "top_p",
    type: "number",
    title: "Top p",
    description:
      "Samples from the likeliest tokens up to this total probability; used if the temperature is above 0. Without a number, as each agent's checkpoint says.",
    default: 1,
    nullable: true,
    above: 0,
    most: 1,
    min: 0.01,
    max: 1,
  },
  {
    name: "topK",
    key: "top_k",
    type: "integer",
    title: "Top k",
    description:
      "Samples from this many of the likeliest tokens, before top p; 0 for all. Without a number, as each agent's checkpoint says.",
    default: 0,
    nullable: true,
    least: 0,
    min: 0,
    max: 1000,
  },
  {
    name: "repetitionPenalty",
    key: "repetition_penalty",
    type: "number",
    title: "Repetition penalty",
    description:
      "Makes tokens less likely that the answer has already; 1 does not. Without a number, as each agent's checkpoint says.",
    default: null,
    nullable: true,
    above: 0,
    most: 10,
    min: 0.1,
    max: 10,
  },
  {
    name: "seed",
    key: "seed",
    type: "integer",
    title: "Seed",
    description: "The same seed gives the same answer.",
    default: 0,
    nullable: false,
    min: 0,
    max: 2147483647,
  },
  {
    name: "thinkBeforeAnswer",
    key: "think_before_answer",
    type: "boolean",
    title: "The last agent thinks before it answers",
    description: "In the last round it first rolls out latent thoughts of its own.",
    default: false,
  },
  {
    name: "answerPrefix",
    key: "answer_prefix",
    type: "text",
    title: "The answer begins with",
    description:
      "The agent is given this text; it does not decode it. Its answer then begins with a space, so this text should not end with one.",
    default: "",
  },
  {
    name: "textTokens",
    key: "text_tokens",
    type: "integer",
    title: "Tokens of a thought in text mode",
    description: "As many as latent steps by default.",
    default: null,
    nullable: true,
    least: 1,
    min: 1,
    max: 4096,
  },
];
