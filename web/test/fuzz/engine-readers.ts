/** Readers of an agent's files, of tools' input and of what servers answer. */
import { createHash } from "node:crypto";
import { Artifacts } from "../../src/engine/artifacts";
import { calculate } from "../../src/engine/calculator";
import { isComplete } from "../../src/engine/completeness";
import type { Gpu } from "../../src/engine/device";
import { keptFiles } from "../../src/engine/kept";
import { bindLibrary } from "../../src/engine/library";
import { type Machine, Runtime } from "../../src/engine/runtime";
import { searchFor } from "../../src/engine/search";
import type { AgentSpec } from "../../src/engine/system";
import { loadTokenizer } from "../../src/engine/tokenizer";
import { callTool } from "../../src/engine/tools";
import { loadWeights, weightFiles } from "../../src/engine/weights";
import { ABI_VERSION } from "../../src/formats/generated/names";
import { system } from "../engine/fixtures";
import { cases, json, textOf } from "./files";
import type { Reader } from "./fuzzing";

/** The first agent of the small system. */
function agent(): AgentSpec {
  const [first] = system().agents;
  if (!first) throw new Error("the small system has agents");
  return first;
}

/** The part of a runtime that readers use; nothing happens on a GPU. */
function fakeRuntime(metadata = ""): Runtime {
  return {
    scoped: (work: () => unknown) => work(),
    keep: (object: unknown) => object,
    free: () => {},
    upload: () => ({}),
    pack: () => ({}),
    sync: async () => {},
    createMachine: async () => ({}),
    builtin: () => () => {},
    function: (_: unknown, name: string) => () => (name === "_metadata" ? metadata : undefined),
  } as unknown as Runtime;
}

const PARAMS = [
  { name: "a.weight", shape: [2, 2], dtype: "float32" },
  { name: "b.weight", shape: [2], dtype: "float16" },
];
const INDEX = {
  metadata: { ParamSize: 2 },
  records: [
    {
      dataPath: "params_shard_0.bin",
      format: "raw-shard",
      nbytes: 12,
      records: [
        {
          name: "a.weight",
          shape: [2, 2],
          dtype: "float32",
          format: "f32-to-bf16",
          nbytes: 8,
          byteOffset: 0,
        },
        { name: "b.weight", shape: [2], dtype: "float16", format: "raw", nbytes: 4, byteOffset: 8 },
      ],
      md5sum: "0",
    },
  ],
};

/** Reads the index of an agent's weights, and uploads the weights that it describes. */
async function readIndex(content: Buffer): Promise<void> {
  const spec = agent();
  const artifacts = {
    readText: async () => textOf(content),
    read: async () => new Uint8Array(12),
    release: () => {},
  } as unknown as Artifacts;
  await weightFiles(artifacts, spec);
  await loadWeights(fakeRuntime(), artifacts, spec, PARAMS, () => {});
}

/** Reads a tokenizer, and tokenises and spells some texts with it. */
function readTokenizer(tokenizer: string, config: string | undefined): void {
  const { encode, decode, tokenText } = loadTokenizer(tokenizer, config, "a");
  for (const text of ["", "a ab b", "<s>A b\n 42 don't é中", "a".repeat(100)]) decode(encode(text));
  decode([0, 1, 2, 3, 999, -1]);
  tokenText(1);
}

const TOKEN = { single_word: false, lstrip: true, rstrip: true, normalized: false };
const BPE = {
  version: "1.0",
  added_tokens: [
    { id: 0, content: "<s>", special: true, ...TOKEN },
    { id: 9, content: "ab b", special: false, ...TOKEN, single_word: true },
  ],
  normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Prepend", prepend: "▁" }] },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: "\\p{N}{1,3}" }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    ],
  },
  post_processor: null,
  decoder: { type: "ByteLevel" },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: "<s>",
    byte_fallback: true,
    ignore_merges: false,
    vocab: { "<s>": 0, a: 1, b: 2, ab: 3, Ġ: 4, "<0x0A>": 5 },
    merges: [["a", "b"], "Ġ a"],
  },
};
const UNIGRAM = {
  added_tokens: [],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Lowercase" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
      { type: "Strip", strip_left: true, strip_right: true },
    ],
  },
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "ByteFallback" },
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "Unigram",
    unk_id: 0,
    byte_fallback: true,
    vocab: [
      ["<unk>", 0],
      ["▁a", -1],
      ["b", -2.5],
      ["<0x41>", -3],
    ],
  },
};
const WORD_PIECE = {
  added_tokens: null,
  normalizer: {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "BertPreTokenizer" },
      { type: "Digits", individual_digits: true },
      { type: "Punctuation", behavior: "Removed" },
      { type: "CharDelimiterSplit", delimiter: "x" },
      { type: "FixedLength", length: 5 },
      { type: "Whitespace" },
    ],
  },
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: { "[UNK]": 0, a: 1, "##b": 2 },
  },
};

const METADATA = {
  model_type: "qwen2",
  context_window_size: 64,
  prefill_chunk_size: 16,
  params: PARAMS,
  recursivemas: {
    abi: ABI_VERSION,
    functions: ["prefill"],
    link_variants: ["paper"],
    hidden_size: 8,
    vocab_size: 256,
    dtype: "float32",
    recurrent_state_bytes: 16,
  },
};

/** What a server may do when a file of 64 bytes is asked for. */
interface Answer {
  readonly status: number;
  readonly from: number;
  readonly to: number;
  readonly flip: number;
  readonly breaks: boolean;
}
const FILE = Uint8Array.from({ length: 64 }, (_, index) => index);
const SPEC = {
  path: "x.bin",
  sizeBytes: FILE.byteLength,
  sha256: createHash("sha256").update(FILE).digest("hex"),
};

/** Whatever a server answers, a file is whole and right, or refused. */
async function download(content: Buffer): Promise<void> {
  let answers: unknown = [];
  try {
    answers = JSON.parse(content.toString());
  } catch {
    // Without answers the connection breaks at every try.
  }
  const waiting = Array.isArray(answers) ? [...answers] : [];
  const fetch = async (): Promise<Response> => {
    const { status, from, to, flip, breaks } = (waiting.shift() ?? {}) as Partial<Answer>;
    const code = Number(status);
    if (!Number.isInteger(code) || code < 200 || code > 599) throw new TypeError("Failed to fetch");
    const bytes = FILE.slice(Number(from) || 0, Number(to) || undefined);
    if (typeof flip === "number" && bytes.length > 0) bytes[flip % bytes.length] = 255;
    const parts = [bytes];
    const body = new ReadableStream({
      pull: (controller) => {
        const part = parts.shift();
        if (part) controller.enqueue(part);
        else if (breaks) controller.error(new TypeError("network error"));
        else controller.close();
      },
    });
    return new Response([101, 204, 205, 304].includes(code) ? null : body, { status: code });
  };
  const sources = { fetch, cache: undefined, pause: async () => {} };
  const read = await new Artifacts("https://host.test/system.json", [SPEC], sources, undefined).read(
    SPEC.path,
  );
  if (Buffer.compare(read, FILE) !== 0) throw new Error("a file that is not the right one was taken");
}

/** Lists what a browser's cache holds, which every script of the same origin can write. */
async function listKept(content: Buffer): Promise<void> {
  let entry: Record<string, unknown> = {};
  try {
    entry = Object(JSON.parse(textOf(content)));
  } catch {
    // The entry has no headers.
  }
  const headers = { get: (name: string) => (name in entry ? String(entry[name]) : null) };
  const cache = {
    keys: async () => [{ url: `${entry.url}` }, { url: "https://files.recursivemas.invalid/ab" }],
    match: async () => ({ headers }),
  };
  Object.defineProperty(globalThis, "caches", { value: { open: async () => cache }, configurable: true });
  for (const { path, system: owner, sizeBytes } of await keptFiles())
    if (typeof path !== "string" || typeof owner !== "string" || !(sizeBytes >= 0))
      throw new Error(`a kept file has the size ${sizeBytes}`);
}

async function search(content: Buffer): Promise<void> {
  const answer = async (): Promise<Response> => new Response(textOf(content));
  const found = await searchFor("x", { url: "https://host.test/api" }, { fetch: answer, signal: undefined });
  if (found.length > 300 || /[<>\n]/.test(found)) throw new Error(`a search gave ${JSON.stringify(found)}`);
}

async function callTools(content: Buffer): Promise<void> {
  const fetch = async (): Promise<Response> => new Response("{}");
  const reach = { search: { url: "https://host.test/api" }, fetch, signal: undefined, most: null, made: 0 };
  await callTool(textOf(content), ["calculator", "search", "python"], reach);
}

/** An empty module, and one with a memory, a table and a function that the runtime does not know. */
const MODULES = [
  Buffer.from("0061736d01000000", "hex"),
  Buffer.from(
    "0061736d0100000001040160000003020100050301000107130206" +
      "6d656d6f72790200065f73746172740000" +
      "0a040102000b",
    "hex",
  ),
];

export function engineReaders(): readonly Reader[] {
  const { calculate: sums } = cases<{ calculate: { expression: string }[] }>("calculator_cases.json");
  const answers = cases<{ answer: string }[]>("completeness_cases.json");
  const gpu = { watch: (work: () => unknown) => work(), device: {} } as unknown as Gpu;
  return [
    { name: "tensor-cache", seeds: json(INDEX), read: readIndex },
    {
      name: "tokenizer",
      seeds: json(BPE, UNIGRAM, WORD_PIECE),
      read: (content) => readTokenizer(textOf(content), undefined),
    },
    {
      name: "tokenizer-config",
      seeds: json({
        clean_up_tokenization_spaces: true,
        tokenizer_class: "PreTrainedTokenizerFast",
        chat_template: "{{ x }}",
      }),
      read: (content) => readTokenizer(JSON.stringify(UNIGRAM), textOf(content)),
    },
    {
      name: "library-metadata",
      seeds: json(METADATA),
      read: (content) => bindLibrary(fakeRuntime(textOf(content)), {} as Machine, agent(), "paper"),
    },
    {
      name: "library",
      seeds: MODULES,
      read: async (content) => {
        // In Node the runtime listens for errors that nobody caught, and never stops.
        const before = process.listeners("uncaughtException");
        try {
          await Runtime.create(() => WebAssembly.compile(new Uint8Array(content)), gpu, "a");
        } finally {
          for (const each of process.listeners("uncaughtException"))
            if (!before.includes(each)) process.off("uncaughtException", each);
        }
      },
    },
    {
      name: "download",
      seeds: json(
        [{ status: 200, from: 0, to: 64 }],
        [
          { status: 200, from: 0, to: 30, breaks: true },
          { status: 206, from: 30, to: 64 },
        ],
        [
          { status: 503 },
          { status: 200, from: 0, to: 64, flip: 3 },
          { status: 206, from: 1, to: 9, breaks: true },
        ],
      ),
      read: download,
    },
    {
      name: "kept-files",
      seeds: json({
        url: "https://files.recursivemas.invalid/cd",
        "x-recursivemas-system": "ring",
        "x-recursivemas-path": "a/x%20y.bin",
        "content-length": "12",
      }),
      read: listKept,
    },
    {
      name: "search",
      seeds: json({ query: { pages: [{ title: "Ring", extract: "A ring is <b>round</b>.\nVery." }] } }),
      read: search,
    },
    {
      name: "calculator",
      seeds: sums.map(({ expression }) => expression),
      read: (content) => calculate(textOf(content)),
    },
    {
      name: "tool-call",
      seeds: ["so <calculator>6 * 5</calculator>", "<search>rings</search>", "<python>print(1)</python>"],
      read: callTools,
    },
    {
      name: "answer",
      seeds: answers.map(({ answer }) => answer),
      read: (content) => {
        for (const needs of ["box", "choice", "code"] as const) isComplete(textOf(content), needs);
      },
    },
  ];
}
