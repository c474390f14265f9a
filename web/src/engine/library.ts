/**
 * Binds the functions of a model library by name, and reads its `_metadata`.
 *
 * Source: docs/abi.md. A library that lacks a function, or was built for another ABI, is refused when it is loaded.
 */

import * as v from "valibot";
import { describeIssues } from "../formats/describe";
import { reasonOf } from "../formats/errors";
import { ABI_VERSION } from "../formats/generated/names";
import { EngineError } from "./errors";
import type { Variant } from "./links";
import type { Compiled, Machine, Runtime } from "./runtime";
import type { AgentSpec } from "./system";

const size = v.pipe(v.number(), v.integer(), v.minValue(1));
/** Allows unknown keys, because MLC's metadata has some that only other runtimes read. */
const metadataSchema = v.object({
  context_window_size: size,
  prefill_chunk_size: size,
  params: v.array(v.object({ name: v.string(), shape: v.array(v.number()), dtype: v.string() })),
  recursivemas: v.object({
    abi: v.number(),
    functions: v.array(v.string()),
    link_variants: v.array(v.string()),
    hidden_size: size,
    vocab_size: size,
    dtype: v.string(),
    recurrent_state_bytes: v.optional(size),
  }),
});
type Metadata = v.InferOutput<typeof metadataSchema>;

/** A parameter in call order. */
export type ParamSpec = Metadata["params"][number];

/** The functions of a library. They live as long as its runtime. */
export interface Library {
  readonly contextWindowSize: number;
  readonly prefillChunkSize: number;
  readonly params: readonly ParamSpec[];
  readonly createKvCache: Compiled;
  readonly embed: Compiled;
  readonly prefill: Compiled;
  readonly decode: Compiled;
  readonly latentPrefill: Compiled;
  readonly latentStep: Compiled;
  readonly innerLink: Compiled;
  readonly outerLink: Compiled;
  readonly lmHead: Compiled;
  readonly argmax: Compiled;
  readonly softmax: Compiled;
  readonly argsort: Compiled;
  readonly sample: Compiled;
  /** Repetition penalty in place; undefined in a library without it. */
  readonly penalty: Compiled | undefined;
  readonly kv: KvFunctions;
  /** Of a model with linear attention, which keeps a state of fixed size beside its KV cache. */
  readonly recurrent: RecurrentFunctions | undefined;
}

/** The library's own functions for a recurrent state: a tuple of tensors that a forward call changes in place. */
interface RecurrentFunctions {
  readonly create: Compiled;
  readonly clear: Compiled;
  /** From the first state to the second one. */
  readonly copy: Compiled;
}

/** The runtime's own functions for a KV cache. */
export interface KvFunctions {
  readonly clear: Compiled;
  readonly addSequence: Compiled;
  readonly removeSequence: Compiled;
  readonly popPositions: Compiled;
  readonly beginForward: Compiled;
  readonly endForward: Compiled;
}

/**
 * Binds the library's functions. None of them may be called before its shaders are compiled.
 *
 * @throws EngineError `bad-library`.
 */
export function bindLibrary(runtime: Runtime, machine: Machine, spec: AgentSpec, variant: Variant): Library {
  const find = (name: string): Compiled => {
    const found = runtime.function(machine, name);
    if (!found) throw bad(spec, `has no function '${name}'`);
    return found;
  };
  const metadata = readMetadata(runtime, find("_metadata"), spec, variant);
  return {
    contextWindowSize: Math.min(metadata.context_window_size, spec.contextWindowSize),
    prefillChunkSize: Math.min(metadata.prefill_chunk_size, spec.prefillChunkSize),
    params: metadata.params,
    createKvCache: find("create_tir_paged_kv_cache"),
    embed: find("embed"),
    prefill: find("prefill"),
    decode: find("decode"),
    latentPrefill: find("latent_prefill"),
    latentStep: find(`latent_step_${variant}`),
    innerLink: find(`inner_link_${variant}`),
    outerLink: find(`outer_link_${variant}`),
    lmHead: find("lm_head"),
    argmax: find("argmax"),
    softmax: find("softmax_with_temperature"),
    argsort: find("argsort_probs"),
    sample: find("sample_with_top_p"),
    penalty: runtime.function(machine, "apply_penalty_inplace"),
    kv: {
      clear: runtime.builtin("vm.builtin.kv_state_clear"),
      addSequence: runtime.builtin("vm.builtin.kv_state_add_sequence"),
      removeSequence: runtime.builtin("vm.builtin.kv_state_remove_sequence"),
      popPositions: runtime.builtin("vm.builtin.kv_state_popn"),
      beginForward: runtime.builtin("vm.builtin.kv_state_begin_forward"),
      endForward: runtime.builtin("vm.builtin.kv_state_end_forward"),
    },
    recurrent:
      metadata.recursivemas.recurrent_state_bytes === undefined
        ? undefined
        : {
            create: find("create_recurrent_state"),
            clear: find("clear_recurrent_state"),
            copy: find("copy_recurrent_state"),
          },
  };
}

function bad(spec: AgentSpec, problem: string): EngineError {
  return new EngineError(
    "bad-library",
    `agent '${spec.id}': its model library ${problem}; rebuild the system with 'rmas build'`,
  );
}

function readMetadata(runtime: Runtime, call: Compiled, spec: AgentSpec, variant: Variant): Metadata {
  let data: unknown;
  try {
    data = JSON.parse(runtime.scoped(() => String(call())));
  } catch (error) {
    throw bad(spec, `has broken metadata (${reasonOf(error)})`);
  }
  const parsed = v.safeParse(metadataSchema, data);
  if (!parsed.success) throw bad(spec, `has broken metadata (${describeIssues(parsed.issues)})`);
  const ours = parsed.output.recursivemas;
  if (ours.abi !== ABI_VERSION) throw bad(spec, `has ABI ${ours.abi}, this page speaks ${ABI_VERSION}`);
  if (!ours.link_variants.includes(variant)) throw bad(spec, `has no links of variant '${variant}'`);
  const expected = [spec.hiddenSize, spec.vocabSize, spec.dtype].join(", ");
  const came = [ours.hidden_size, ours.vocab_size, ours.dtype].join(", ");
  if (came !== expected)
    throw bad(spec, `has hidden size, vocabulary and dtype ${came}; system.json says ${expected}`);
  return parsed.output;
}
