// Written by `make generate` from core/recursivemas/system. Do not edit.
export type Activation = "gelu" | "gelu_tanh";

/** The nonlinear function of a link. */
export interface ActivationInfo {
  readonly name: Activation;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
}

export type Quantization = "q0f32" | "q0f16" | "q4f32_1" | "q4f16_1";

export type Dtype = "float32" | "float16";

/** A prompt as the engine needs it: the template between the text that the chat template puts around it. */
export interface PromptRecord {
  /** The prompt with its `{question}`, `{field}` and `{latent:<edge id>}` slots and its conditional text. */
  readonly template: string;
  /** The chat template's text before the user message, with the agent's system message; empty without a template. */
  readonly prefix: string;
  /** The chat template's text after it, with the generation prompt; empty without one. */
  readonly suffix: string;
  /** Whether the chat template takes the white space from the ends of the message, or from its end alone. */
  readonly trim: "end" | boolean;
}

/** How transformers' `generate` picks tokens with a checkpoint if nobody tells it otherwise. */
export interface Sampling {
  /** 0 always takes the likeliest token. */
  readonly temperature: number;
  /** Total probability of the likeliest tokens that it samples from. */
  readonly topP: number;
  /** How many of the likeliest tokens it samples from; 0 for all. */
  readonly topK: number;
  /** What divides a positive logit of a token that was written before, and multiplies a negative one. */
  readonly repetitionPenalty: number;
}

/** A second library of the same weights, whose kernels use WebGPU's feature `subgroups`. */
export interface SubgroupLibrary {
  /** Path of the library, a `.wasm`. */
  readonly modelLib: string;
  /** The least that the GPU's smallest subgroup must have, in threads. */
  readonly subgroupSize: 4 | 8 | 16 | 32 | 64 | 128;
}

/** An agent's files and dimensions. */
export interface AgentRecord {
  /** Unique in the system. */
  readonly id: string;
  /** What people call the agent. */
  readonly role: string;
  /** Hub id, or the name of a checkpoint folder. */
  readonly model: string;
  /** The model's family, such as `qwen3`. */
  readonly architecture: string;
  /** Its folder in MLC's layout, ending in `/`. */
  readonly path: string;
  /** Path of the compiled library, a `.wasm`. */
  readonly modelLib: string;
  /** How its weights are stored. */
  readonly quantization: Quantization;
  /** The dtype in which it computes. */
  readonly dtype: Dtype;
  /** The hidden size D. */
  readonly hiddenSize: number;
  /** Number of decoder layers. */
  readonly numHiddenLayers: number;
  /** The size V of its vocabulary. */
  readonly vocabSize: number;
  /** The most positions that its KV cache holds. */
  readonly contextWindowSize: number;
  /** The most positions that one call to prefill takes. */
  readonly prefillChunkSize: number;
  /** GPU memory for weights, a KV cache of the whole context window, and temporaries, estimated. */
  readonly memoryBytes: number;
  /** Each of these tokens ends an answer. */
  readonly stopTokenIds: readonly number[];
  /** The prompt of every round, except the first if that has its own. */
  readonly prompt: PromptRecord;
  /** The prompt of the first round. */
  readonly firstRoundPrompt: PromptRecord | null;
  /** The prompt for when the agent is asked alone, in single and loop mode. */
  readonly singlePrompt: PromptRecord | null;
  /** Tools that the agent may call while it decodes. */
  readonly tools: readonly string[];
  /** Latent steps of its turns, if it has a number of its own. */
  readonly latentSteps: number | null;
  /** How its checkpoint says that tokens are picked; settings of `decoding` that are null take it from here. */
  readonly sampling: Sampling;
  /** The part of `memory_bytes` that recurrent states take. */
  readonly recurrentStateBytes: number;
  /** WebGPU limits that this agent needs, where they are below those of the system. */
  readonly requiredLimits: Readonly<Record<string, number>>;
  /** A library that a page takes instead of `model_lib` where the GPU has the subgroups that it needs. */
  readonly subgroupLib: SubgroupLibrary | null;
}

/** An agent as the page draws it. */
export interface AgentView {
  /** Unique in the system. */
  readonly id: string;
  /** What people call the agent. */
  readonly role: string;
  /** The checkpoint as the system names it. Absent in runs that version 0.1.0 saved. */
  readonly model?: string;
  /** The model's family. */
  readonly architecture: string;
  /** The hidden size D. */
  readonly hiddenSize: number;
  /** Latent steps of its turns, if it has a number of its own. */
  readonly latentSteps?: number;
}

export type Complete = "box" | "choice" | "code";

/** What happens to an answer that is not complete: the agent goes on from its text alone, once. */
export interface AnswerRetry {
  /** What a complete answer has in it: a `\boxed{…}`, a choice, or a block of Python. */
  readonly needs: Complete;
  /** The agent reads its answer, without white space at its end, and then this text, and goes on. */
  readonly append: string;
  /** The most tokens that it adds. */
  readonly maxNewTokens: number;
}

/** Exact counts since some moment, made where the GPU device is called. */
export interface Counters {
  /** How often JavaScript waited for the GPU: buffer mappings and `onSubmittedWorkDone`. */
  readonly syncs: number;
  /** Bytes mapped for reading on the CPU. */
  readonly readbackBytes: number;
  /** Compute dispatches. */
  readonly dispatches: number;
  /** Calls of `queue.submit`. */
  readonly submits: number;
  /** Bytes written by `queue.writeBuffer`. */
  readonly uploadBytes: number;
  /** Bytes of GPU buffers that exist now. */
  readonly liveBytes: number;
  /** Most bytes of GPU buffers that ever existed at once. */
  readonly peakBytes: number;
}

/** How the deciding agent writes its answer (docs/recursion.md, rule 5). */
export interface Decoding {
  /** Decoding stops after this many tokens. */
  readonly maxNewTokens: number;
  /** 0 always takes the likeliest token. Without a number, as each agent's checkpoint says. */
  readonly temperature: number | null;
  /** Samples from the likeliest tokens up to this total probability; used if the temperature is above 0. Without a number, as each agent's checkpoint says. */
  readonly topP: number | null;
  /** Samples from this many of the likeliest tokens, before top p; 0 for all. Without a number, as each agent's checkpoint says. */
  readonly topK: number | null;
  /** Makes tokens less likely that the answer has already; 1 does not. Without a number, as each agent's checkpoint says. */
  readonly repetitionPenalty: number | null;
  /** The same seed gives the same answer. */
  readonly seed: number;
  /** In the last round it first rolls out latent thoughts of its own. */
  readonly thinkBeforeAnswer: boolean;
  /** The agent is given this text; it does not decode it. Its answer then begins with a space, so this text should not end with one. */
  readonly answerPrefix: string;
  /** As many as latent steps by default. */
  readonly textTokens: number | null;
  /** Decoding stops when the answer has one of these texts in it; the answer is what stands before it. */
  readonly stopStrings: readonly string[];
  /** From its own text, if it lacks what a complete answer has. */
  readonly answerRetry: AnswerRetry | null;
  /** A call beyond this number ends the answer; there is no limit by default. */
  readonly maxToolCalls: number | null;
}

/** Where a run ended before its last round, and why. */
export interface EarlyStop {
  /** The round that was the last one, counted from 0. */
  readonly round: number;
  /** Its similarity to the round before, which reached the threshold. */
  readonly similarity: number;
}

/** When a run may end before its last round. A run stops early only if it asks for it. */
export interface EarlyStopping {
  /** The least cosine between the hand-offs on feedback edges of a round and those of the round before; from there on, the round is the last one (docs/recursion.md, rule 10). */
  readonly threshold: number;
}

/** A hand-off, with an outer link of its own. */
export interface Edge {
  /** Names the slot `{latent:<id>}`; `<from>-><to>` by default. */
  readonly id: string;
  /** Agent whose latent thoughts are handed over. */
  readonly from: string;
  /** Agent whose prompt has the slot. */
  readonly to: string;
  /** Whether the hand-off is read in the next round, because the target has already run in this one. */
  readonly feedback: boolean;
}

/** A file of the system's folder. */
export interface FileRecord {
  /** Path relative to the manifest. */
  readonly path: string;
  /** Size of the file. */
  readonly sizeBytes: number;
  /** Its sha256, in lower-case hexadecimal. */
  readonly sha256: string;
}

export type FileRole =
  | "manifest"
  | "bill_of_materials"
  | "index"
  | "configuration"
  | "weights"
  | "tokenizer"
  | "shared_links";

/** A file that is found by its name. */
export interface FileRoleInfo {
  readonly name: FileRole;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** The name of the file. */
  readonly file: string;
}

export type Pattern = "sequential" | "mixture" | "distillation" | "deliberation" | "graph";

export type LinkVariant = "paper" | "ln_res" | "normed";

/** A LoRA adapter that is merged into an agent. */
export interface SharedAdapter {
  /** Hub id, or the name of a folder. */
  readonly name: string;
  /** The Hub's commit. */
  readonly revision: string | null;
  /** Over the sha256 of its configuration and of its weights. */
  readonly sha256: string;
}

/** An agent that links fit: the checkpoint that they were trained with. */
export interface SharedAgent {
  /** Unique in the system; inner links and edges name it. */
  readonly id: string;
  /** What people call the agent. */
  readonly role: string;
  /** Hub id, or the name of a checkpoint folder. */
  readonly model: string;
  /** The Hub's commit. */
  readonly revision: string | null;
  /** The model's family, such as `qwen3`. */
  readonly architecture: string;
  /** The hidden size D. */
  readonly hiddenSize: number;
  /** The licence that the checkpoint declares. */
  readonly license: string | null;
  /** Over the sha256 of each file of weights, in the order of their names, as `system.json` has it. */
  readonly weightsSha256: string;
  /** The adapter that is merged into the weights, if there is one. */
  readonly adapter: SharedAdapter | null;
}

/** How links were trained; the link file has every setting. */
export interface TrainedOn {
  /** Name of the training data: `generator:<task>` or a file's name. */
  readonly data: string;
  /** Rounds of a run in training. */
  readonly rounds: number;
  /** Latent steps of a turn in training. */
  readonly latentSteps: number;
  /** Seed of everything random. */
  readonly seed: number;
  /** Kind of the machine. */
  readonly device: string;
  /** Why the agents' weights are not those that the links were trained with, in the publisher's words. */
  readonly agentsChanged: string | null;
}

export type Mode = "latent" | "text" | "loop" | "single";

export type Weights = "checkpoint" | "dequantised";

/** A row of a report of `rmas eval`: the accuracy in one mode, with its 95 % interval. */
export interface Measurement {
  /** Name of the questions. */
  readonly data: string;
  /** How the questions were answered. */
  readonly mode: Mode;
  /** What replaced the hand-offs: `none`, `zeros` or `other_question`. */
  readonly control: string;
  /** Rounds of a run. */
  readonly rounds: number;
  /** Latent steps of a turn. */
  readonly latentSteps: number;
  /** Of sampling: 0 always takes the likeliest token, null is what each agent's checkpoint says. */
  readonly temperature: number | null;
  /** Threshold of early stopping; absent if every question took all rounds. */
  readonly threshold: number | null;
  /** Weights of the agents: those of the checkpoints, or `dequantised`, those that a build stores. */
  readonly weights: Weights;
  /** How many questions were asked. */
  readonly questions: number;
  /** Share of right answers. */
  readonly accuracy: number;
  /** Lower end of the 95 % interval. */
  readonly low: number;
  /** Upper end of the 95 % interval. */
  readonly high: number;
  /** Decoded tokens an answer, on average. */
  readonly decodedTokens: number;
}

/** A record of shared links. */
export interface SharedLinks {
  /** Says what the file is. */
  readonly format: "recursivemas.shared-links";
  /** Version of the format. */
  readonly version: 1;
  /** Name of the system that the links were trained for. */
  readonly system: string;
  /** What the system does, for people. */
  readonly description: string;
  /** The licence of the links themselves, as the Hub spells it. */
  readonly license: string;
  /** The pattern, for people; the graph is in `edges`. */
  readonly pattern: Pattern;
  /** Form of every link. */
  readonly variant: LinkVariant;
  /** The agents in the order in which they run. */
  readonly agents: readonly SharedAgent[];
  /** The hand-offs, with an outer link each. */
  readonly edges: readonly Edge[];
  /** The link file, beside the record. */
  readonly links: FileRecord;
  /** How the links were trained. */
  readonly trained: TrainedOn;
  /** What was measured with these links; empty if nothing was. */
  readonly measured: readonly Measurement[];
}

/** Links of the gallery. */
export interface GalleryEntry {
  /** Path of the system's YAML file, relative to the list. */
  readonly system: string;
  /** Path of the link file, relative to the list. */
  readonly links: string;
  /** What the two files say, as `rmas links gallery` writes it. */
  readonly record: SharedLinks;
}

/** The list of the gallery, `systems/gallery.json`. */
export interface Gallery {
  /** Says what the file is. */
  readonly format: "recursivemas.gallery";
  /** Version of the format. */
  readonly version: 1;
  /** The links, in the order in which people see them. */
  readonly entries: readonly GalleryEntry[];
}

/** A hand-off was made. */
export interface Handoff {
  /** When it arrived, counted from the beginning of the run. */
  readonly at: number;
  /** Kind of the event. */
  readonly kind: "handoff";
  /** Index of the hand-off in the result's `handoffs`. */
  readonly index: number;
}

/** A matrix of float32 numbers. */
export interface Matrix {
  /** Number of rows: M, for latent thoughts and hand-offs. */
  readonly rows: number;
  /** Number of columns: D, or the receiver's D_target. */
  readonly columns: number;
  /** The rows × columns numbers, row-major. */
  readonly data: Float32Array;
}

/** A hand-off, after it reached the receiver's side. */
export interface HandoffSummary {
  /** Counted from 0. */
  readonly round: number;
  /** The edge's id. */
  readonly edge: string;
  /** The agent that sent it. */
  readonly from: string;
  /** The agent that receives it. */
  readonly to: string;
  /** Rows handed over: M; 0 if the edge was switched off. */
  readonly rows: number;
  /** Text handed over, in text mode. */
  readonly text?: string;
  /** R_out(R_in(H)), (M, D_target), if the run kept it. */
  readonly states?: Matrix;
  /** The least cosine to the hand-off of the round before, over its positions, if early stopping compared them. */
  readonly similarity?: number;
}

export type HubTag = "recursivemas" | "recursivemas-links";

/** A tag by which repositories on the Hugging Face Hub are found. */
export interface HubTagInfo {
  readonly name: HubTag;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
}

/** A system beside the page. */
export interface IndexEntry {
  /** Name of the system. */
  readonly name: string;
  /** What the system does, for people. */
  readonly description: string;
  /** The pattern, for people. */
  readonly pattern: string;
  /** Path of its `system.json`, relative to the index. */
  readonly path: string;
  /** Size of all its files together. */
  readonly sizeBytes: number;
}

/** A tensor. */
export interface TensorRecord {
  /** The dtype of the values. */
  readonly dtype: Dtype;
  /** The shape; weights are (out, in). */
  readonly shape: readonly number[];
  /** The values in base64: little-endian and row-major. */
  readonly data: string;
}

/** A link: its dimensions and tensors. */
export interface Link {
  /** Hidden size of the input: S, or D for an inner link. */
  readonly sourceSize: number;
  /** Hidden size of the output. */
  readonly targetSize: number;
  /** Hidden width R of the link. */
  readonly width: number;
  /** Tensors by the names of docs/abi.md; the variants `paper` and `normed` may leave out biases. */
  readonly tensors: Readonly<Record<string, TensorRecord>>;
}

/** The trained links of a system. */
export interface LinkFile {
  /** Says what the file is. */
  readonly format: "recursivemas.links";
  /** Version of the format. */
  readonly version: 1;
  /** Name of the system that the links were trained for. */
  readonly system: string;
  /** Form of every link in the file. */
  readonly variant: LinkVariant;
  /** The form of GELU that the links were trained with. */
  readonly activation: Activation;
  /** Epsilon of the layer norms of the `ln_res` variant. */
  readonly layerNormEps: number;
  /** Inner links by agent id. */
  readonly inner: Readonly<Record<string, Link>>;
  /** Outer links by edge id. */
  readonly outer: Readonly<Record<string, Link>>;
  /** Seed, versions, steps, losses, sha256 of the agents' weights. */
  readonly provenance: Readonly<Record<string, unknown>>;
}

export type Size = "source" | "target" | "width";

/** A tensor of a link. */
export interface LinkTensor {
  readonly name: string;
  /** By the link's sizes: source S, target D_target and width R. */
  readonly shape: readonly Size[];
  /** Whether a file may leave it out; it is zeros then. */
  readonly optional: boolean;
}

/** A form of links, with its tensors in the order in which compiled functions take them. */
export interface LinkVariantInfo {
  readonly name: LinkVariant;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** The one that compiled libraries compute. */
  readonly activation: Activation;
  readonly inner: readonly LinkTensor[];
  readonly outer: readonly LinkTensor[];
}

/** The same agents with weights of another kind, for visitors whose GPU can run it. */
export interface VariantRecord {
  /** How the weights of its agents are stored. */
  readonly quantization: Quantization;
  /** The manifest's agents in the same order; files, dtype and memory differ. */
  readonly agents: readonly AgentRecord[];
  /** WebGPU features that these agents need. */
  readonly requiredFeatures: readonly string[];
  /** WebGPU limits that these agents need. */
  readonly requiredLimits: Readonly<Record<string, number>>;
  /** GPU memory of these agents and the links, estimated. */
  readonly memoryBytes: number;
}

export type Scoring = "exact" | "contains" | "numeric" | "any_number" | "choice" | "math";

/** What to ask, and how an answer is judged. */
export interface TaskRecord {
  /** Name of the task, for people. */
  readonly name: string;
  /** How to read a question. */
  readonly description: string;
  /** How an answer is compared with the right one. */
  readonly scoring: Scoring;
  /** Path of the file of questions. */
  readonly questions: string | null;
}

/** A built system. */
export interface Manifest {
  /** Says what the file is. */
  readonly format: "recursivemas.system";
  /** Version of the format. */
  readonly version: 1;
  /** Name of the system. */
  readonly name: string;
  /** What the system does, for people. */
  readonly description: string;
  /** The pattern, for people; the graph is in `edges`. */
  readonly pattern: Pattern;
  /** Rounds of a run by default. */
  readonly rounds: number;
  /** Latent steps of a turn by default. */
  readonly latentSteps: number;
  /** How an answer is decoded by default. */
  readonly decoding: Decoding;
  /** The threshold of runs that stop early, if the system has one. A run stops early only if it asks for it. */
  readonly earlyStopping: EarlyStopping | null;
  /** The agents in the order in which they run; the last one decides. */
  readonly agents: readonly AgentRecord[];
  /** Other builds of the agents, in order of preference. A page takes the first that its GPU can run, else the manifest's own agents. */
  readonly variants: readonly VariantRecord[];
  /** The hand-offs. */
  readonly edges: readonly Edge[];
  /** What the system is for. */
  readonly task: TaskRecord | null;
  /** Path of the system's link file. */
  readonly links: string;
  /** WebGPU features that every agent needs, such as `shader-f16`. */
  readonly requiredFeatures: readonly string[];
  /** WebGPU limits by name: the least that the device must offer. */
  readonly requiredLimits: Readonly<Record<string, number>>;
  /** GPU memory of agents and links, estimated. */
  readonly memoryBytes: number;
  /** Every file of the folder but the manifest itself. */
  readonly files: readonly FileRecord[];
  /** What the system was built from: versions, source revisions, sha256 of the system file and of weights. */
  readonly provenance: Readonly<Record<string, unknown>>;
}

/** A way to answer a question with a system. */
export interface ModeInfo {
  readonly name: Mode;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** Whether the number of rounds and of latent steps matters. */
  readonly rounds: boolean;
  /** Whether agents hand anything over. */
  readonly handoffs: boolean;
  /** Whether agents write their thoughts as text. */
  readonly writes: boolean;
}

/** Which files answered: two runs can be compared if it is the same for both. */
export interface Origin {
  /** Sha256 of the system's manifest, which stands for every file that it lists; null if it is not known. */
  readonly manifestSha256: string | null;
  /** Name of the links that the visitor opened in place of the system's own; null if there were none. */
  readonly links: string | null;
}

/** A graph that has a name. */
export interface PatternInfo {
  readonly name: Pattern;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
}

/** How weights are stored and in which dtype a model computes. */
export interface QuantizationInfo {
  readonly name: Quantization;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** The dtype of activations and of weights that are not packed; float16 needs WebGPU's `shader-f16`. */
  readonly dtype: Dtype;
  /** Whether matrices are packed into 4-bit groups of 32. */
  readonly grouped: boolean;
}

/** A question with its right answer. */
export interface QuestionRecord {
  /** The question, as it goes into the prompt. */
  readonly question: string;
  /** The right answer. */
  readonly answer: string;
  /** The choices of a multiple-choice question, in order. */
  readonly choices?: readonly string[];
  /** A label to tell questions apart by, such as a difficulty; shown, never used for the answer. */
  readonly group?: string;
  /** Other columns by name; a prompt shows one in its slot `{name}`. */
  readonly fields: Readonly<Record<string, string>>;
}

export type Questions = readonly QuestionRecord[];

export type StopReason = "stop-token" | "stop-string" | "max-new-tokens" | "max-tool-calls" | "context-full";

/** A candidate of the logit lens or of a decoded token. */
export interface TokenProbability {
  /** The token's id in the agent's vocabulary. */
  readonly tokenId: number;
  /** The token as the agent's tokenizer writes it. */
  readonly text: string;
  /** Probability of the token. */
  readonly probability: number;
}

/** What one agent did in one round. */
export interface TurnSummary {
  /** Counted from 0. */
  readonly round: number;
  /** The agent's id. */
  readonly agent: string;
  /** Tokens of its prompt; latent rows are not among them. */
  readonly promptTokens: number;
  /** Latent thoughts that it rolled out. */
  readonly latentSteps: number;
  /** Sampled tokens, the stop token excluded. */
  readonly decodedTokens: number;
  /** Positions that the model computed: the prompt with its hand-offs, R_in of thoughts, the answer prefix, what tools gave, and sampled tokens. A turn's last token is not among them, because it is never fed back. Absent only in runs that version 0.1.0 saved. */
  readonly forwardPositions?: number;
  /** Those of `forward_positions`, at the beginning of the prompt, that were not computed again, because the agent had their keys and values from its turn before. Absent if there were none. */
  readonly keptPositions?: number;
  /** Text that the turn decoded; empty for a latent turn. */
  readonly text: string;
  /** Wall time from the prompt to the last hand-off, GPU work included; reading back for the trace comes after it. */
  readonly ms: number;
  /** What the turn added to the counters, without reading back for the trace; `live_bytes` and `peak_bytes` are the values at its end. */
  readonly counters: Counters;
  /** Its latent thoughts, (M, D), if the run kept them. */
  readonly thoughts?: Matrix;
  /** The likeliest tokens of each latent thought, if the run kept them. */
  readonly lens?: readonly (readonly TokenProbability[])[];
}

/** The outcome of a run. */
export interface RunResult {
  /** What the deciding agent wrote. */
  readonly answer: string;
  /** Why decoding ended. */
  readonly stopReason: StopReason;
  /** Mode of the run. */
  readonly mode: Mode;
  /** Rounds that the run took. */
  readonly rounds: number;
  /** Where and why the run ended before its last round; absent if it took all of its rounds. */
  readonly earlyStop?: EarlyStop;
  /** Latent steps of a turn. */
  readonly latentSteps: number;
  /** Sampled tokens of all agents, stop tokens excluded. */
  readonly decodedTokens: number;
  /** The answer's tokens; results of tools are among them, and were not sampled. */
  readonly answerTokenIds: readonly number[];
  /** Latent steps of all agents. */
  readonly totalLatentSteps: number;
  /** Wall time of the whole run, without reading back for the trace. */
  readonly ms: number;
  /** All turns, in the order in which they were taken. */
  readonly turns: readonly TurnSummary[];
  /** All hand-offs, in the order in which they were made. */
  readonly handoffs: readonly HandoffSummary[];
  /** What the whole run added to the counters, without reading back for the trace. */
  readonly counters: Counters;
}

/** Other prompts for an agent, for one run. */
export interface SavedPrompt {
  /** The agent's id. */
  readonly agent: string;
  /** The prompt in place of the system's. Its slots must name edges that arrive at the agent. */
  readonly prompt?: string;
  /** The prompt of the first round in place of the system's; null if the first round uses `prompt` too. */
  readonly firstRoundPrompt?: string | null;
  /** The prompt of the agent alone in place of the system's, in single and loop mode. */
  readonly singlePrompt?: string;
}

/** Where the search tool asks. */
export interface SearchOptions {
  /** URL of a MediaWiki's `api.php`, such as Wikipedia's. */
  readonly url: string;
}

/** What a run keeps for later reading. Everything is read back at the end of a turn, never inside one. */
export interface TraceOptions {
  /** Whether hand-offs are kept: R_out(R_in(H)), (M, D_target), in float32. */
  readonly handoffs?: boolean;
  /** Whether latent thoughts are kept: H, (M, D), in float32. */
  readonly thoughts?: boolean;
  /** Logit lens: for every latent thought this many of the likeliest tokens of its own agent; 0 keeps none. */
  readonly lensTopK?: number;
}

/** The options of a run, complete: nothing is left to a default of the system. */
export interface SavedOptions {
  /** The question, as it goes into the prompts. */
  readonly question: string;
  /** Other columns of the question by name, as they go into the prompts. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Mode of the run. */
  readonly mode: Mode;
  /** Rounds of the run. */
  readonly rounds: number;
  /** Latent steps of a turn. */
  readonly latentSteps: number;
  /** Lets the run end before its last round. Without it, a run takes all of its rounds. */
  readonly earlyStopping?: EarlyStopping;
  /** How the answer is decoded. A file names every setting that its page knew; a newer one has its default. */
  readonly decoding: Decoding;
  /** Ids of the edges that carry something; the slots of the others stay empty. */
  readonly edges: readonly string[];
  /** Ids of the agents that take part, in the order in which they run; the last one decides. An edge becomes feedback if its receiver does not run later in the round. If absent, all agents run in the system's own order. */
  readonly order?: readonly string[];
  /** Prompts in place of the system's. */
  readonly prompts: readonly SavedPrompt[];
  /** What arrives in place of the sender's thoughts in latent mode, by edge id, to measure what they contribute: zeros, or matrices (M, D_target) from another run, one for each round. The last one serves all later rounds. */
  readonly replace?: Readonly<Record<string, "zeros" | readonly Matrix[]>>;
  /** Lets the deciding agent search, besides using its own tools. Without it, a run fetches nothing. */
  readonly search?: SearchOptions;
  /** What the run keeps for later reading. */
  readonly trace?: TraceOptions;
}

/** The part of a system that the page draws. */
export interface SystemView {
  /** Name of the system. */
  readonly name: string;
  /** The pattern, for people. */
  readonly pattern: string;
  /** The agents in running order. */
  readonly agents: readonly AgentView[];
  /** The hand-offs. */
  readonly edges: readonly Edge[];
}

/** A turn began. */
export interface TurnStart {
  /** When it arrived, counted from the beginning of the run. */
  readonly at: number;
  /** Counted from 0. */
  readonly round: number;
  /** The agent's id. */
  readonly agent: string;
  /** Kind of the event. */
  readonly kind: "turn-start";
  /** Tokens of its prompt. */
  readonly promptTokens: number;
  /** Latent rows spliced into the prompt. */
  readonly latentRows: number;
}

/** A latent step was handed to the GPU. */
export interface Step {
  /** When it arrived, counted from the beginning of the run. */
  readonly at: number;
  /** Counted from 0. */
  readonly round: number;
  /** The agent's id. */
  readonly agent: string;
  /** Positions that the turn has computed so far. */
  readonly forwardPositions?: number;
  /** CPU time since the work before; nothing waits for the GPU inside a latent turn. */
  readonly ms: number;
  /** Kind of the event. */
  readonly kind: "step";
  /** Counted from 0. */
  readonly step: number;
  /** Steps of the turn. */
  readonly of: number;
}

/** A token was decoded. */
export interface Token {
  /** When it arrived, counted from the beginning of the run. */
  readonly at: number;
  /** Counted from 0. */
  readonly round: number;
  /** The agent's id. */
  readonly agent: string;
  /** Positions that the turn has computed so far. */
  readonly forwardPositions?: number;
  /** CPU time since the work before; nothing waits for the GPU inside a latent turn. */
  readonly ms: number;
  /** Kind of the event. */
  readonly kind: "token";
  /** The token's id in the agent's vocabulary. */
  readonly tokenId: number;
  /** Text that it added; the result of a tool is at its end. */
  readonly text: string;
  /** UTF-16 units at the end of the text before that `text` replaces, if decoding the token changed them. */
  readonly replaces?: number;
  /** Whether it belongs to the deciding agent's answer, not to a thought in text mode. */
  readonly answer: boolean;
}

/** A turn ended. */
export interface TurnEnd {
  /** When it arrived, counted from the beginning of the run. */
  readonly at: number;
  /** Kind of the event. */
  readonly kind: "turn-end";
  /** Index of the turn in the result's `turns`. */
  readonly index: number;
}

/** A saved run. */
export interface SavedRun {
  /** Says what the file is. */
  readonly format: "recursivemas.trace";
  /** Version of the format. */
  readonly version: 1 | 2 | 3 | 4 | 5;
  /** What answered. */
  readonly system: SystemView;
  /** Which files answered. */
  readonly origin?: Origin;
  /** The right answer, if it is known. */
  readonly expected: string | null;
  /** What the question offers, if it is multiple choice. */
  readonly choices: readonly string[] | null;
  /** How the answer is compared with the right one. */
  readonly scoring: Scoring;
  /** What was asked. */
  readonly options: SavedOptions;
  /** What happened, in order. */
  readonly events: readonly (TurnStart | Step | Token | Handoff | TurnEnd)[];
  /** What came out. */
  readonly result: RunResult;
}

/** A way to compare an answer with the right one. */
export interface ScoringInfo {
  readonly name: Scoring;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** Whether the page compares as `rmas eval` does; if not, it only recognises some right answers. */
  readonly complete: boolean;
}

/** Why decoding ended. */
export interface StopReasonInfo {
  readonly name: StopReason;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
}

/** The index. */
export interface SystemsIndex {
  /** Says what the file is. */
  readonly format: "recursivemas.systems";
  /** Version of the format. */
  readonly version: 1;
  /** The systems; the page opens the first one by default. */
  readonly systems: readonly IndexEntry[];
}

export type Tool = "calculator" | "python" | "search";

/** A tool that the deciding agent may call while it decodes. */
export interface ToolInfo {
  readonly name: Tool;
  /** What the page calls it. */
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** Whether it sends text to another server, so that it needs the visitor's permission. */
  readonly consent: boolean;
  /** Whether the page has it. */
  readonly browser: boolean;
}
