/** Reads `tokenizer.json` with Hugging Face's JavaScript tokenizers, mended where they differ from its Rust ones. */

import {
  BPE,
  Tokenizer as HfTokenizer,
  LowercaseNormalizer,
  type Normalizer,
  SequenceNormalizer,
  Unigram,
} from "@huggingface/tokenizers";
import { reasonInFile } from "../formats/errors";
import { type AddedToken, sectionsOf } from "./added-tokens";
import { EngineError } from "./errors";
import { decoder } from "./tokenizer-decode";
import { normalizerSteps, preTokenizerSteps, type Step } from "./tokenizer-steps";

/** Text ↔ token ids of one agent. */
export interface Tokenizer {
  /** Adds no special tokens, but recognises those that the text spells out. */
  encode(text: string): number[];
  /** Leaves out special tokens, and ids that the tokenizer does not have. */
  decode(ids: readonly number[]): string;
  /** Shows one token as the vocabulary spells it, special tokens too. */
  tokenText(id: number): string;
}

/** What is read of `tokenizer.json`. */
interface TokenizerJson {
  readonly added_tokens?: readonly AddedToken[] | null;
  readonly normalizer?: Step | null;
  readonly pre_tokenizer?: Step | null;
  readonly decoder?: Step | null;
  readonly model: { readonly type?: unknown; readonly vocab?: unknown };
}

/** What is read of `tokenizer_config.json`. */
interface TokenizerConfig {
  readonly clean_up_tokenization_spaces?: boolean | null;
  readonly clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output?: boolean | null;
}

/**
 * @param tokenizerJson - content of `tokenizer.json`.
 * @param configJson - content of `tokenizer_config.json`, if the checkpoint has one.
 * @param agent - the agent's id, for errors.
 * @throws EngineError `bad-manifest` if either cannot be read; the tokenizer's functions do so if a part of it that was
 *   not needed before turns out to be broken.
 */
export function loadTokenizer(
  tokenizerJson: string,
  configJson: string | undefined,
  agent: string,
): Tokenizer {
  const guarded = <A extends unknown[], R>(work: (...args: A) => R): ((...args: A) => R) => {
    return (...args) => {
      try {
        return work(...args);
      } catch (error) {
        const reason = reasonInFile(error);
        throw new EngineError(
          "bad-manifest",
          `agent '${agent}': its tokenizer.json cannot be read (${reason})`,
          error,
        );
      }
    };
  };
  const { encode, decode, tokenText } = guarded(() =>
    readTokenizer(JSON.parse(tokenizerJson), configJson === undefined ? {} : JSON.parse(configJson)),
  )();
  return { encode: guarded(encode), decode: guarded(decode), tokenText: guarded(tokenText) };
}

function readTokenizer(json: TokenizerJson, config: TokenizerConfig): Tokenizer {
  const { type = "", vocab } = json.model;
  if (typeof type !== "string" || (type === "" && !vocab)) throw new Error("its model has no type");
  const library = new HfTokenizer(
    {
      model: json.model,
      normalizer: normalizerSteps(json.normalizer),
      pre_tokenizer: preTokenizerSteps(json.pre_tokenizer),
      added_tokens: [],
      decoder: null,
      post_processor: null,
    },
    {},
  );
  const { model, normalizer, pre_tokenizer: preTokenizer } = library;
  if (!model) throw new Error("it has no model");
  if (normalizer) lowercaseByCharacter(normalizer);
  const normalize = (text: string): string => (normalizer ? normalizer(text) : text);
  const added = json.added_tokens ?? [];
  const isNormalised = ({ special, normalized }: AddedToken): boolean => normalized ?? !special;
  const spelt = (token: AddedToken): string =>
    isNormalised(token) ? normalize(token.content) : token.content;
  const whole = sectionsOf(
    added.filter((token) => !isNormalised(token)),
    spelt,
  );
  const normalised = sectionsOf(added.filter(isNormalised), spelt);
  const byteId = (byte: number): number | undefined =>
    model.tokens_to_ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const bytesInstead =
    model instanceof Unigram && "byte_fallback" in json.model && json.model.byte_fallback === true;

  /** Ids of a piece that the model knows or, byte by byte, spells. */
  const pieceIds = (piece: string): (number | undefined)[] =>
    model([piece]).flatMap((token) => {
      const id = model.tokens_to_ids.get(token);
      if (id !== undefined) return id;
      const bytes = bytesInstead ? Array.from(new TextEncoder().encode(token), byteId) : [undefined];
      return bytes.includes(undefined) ? model.unk_token_id : bytes;
    });

  const encode = (text: string): number[] => {
    const ids: (number | undefined)[] = [];
    for (const section of whole(text)) {
      if ("id" in section) {
        ids.push(section.id);
        continue;
      }
      for (const part of normalised(normalize(section.text))) {
        if ("id" in part) {
          ids.push(part.id);
          continue;
        }
        const first = section.start === 0 && part.start === 0;
        const pieces = preTokenizer ? preTokenizer(part.text, { section_index: first ? 0 : 1 }) : [part.text];
        for (const piece of pieces) if (piece !== "") ids.push(...pieceIds(piece));
      }
    }
    return ids.filter((id) => id !== undefined);
  };

  const addedText = new Map(added.map((token) => [token.id, spelt(token)]));
  const special = new Set(added.filter((token) => token.special).map(({ content }) => content));
  const spelling = (id: number): string | undefined => addedText.get(id) ?? model.vocab[id];
  const toPieces = decoder(json.decoder);
  // transformers, tokenization_utils_tokenizers.py: only if the key is true, and for BPE only if a second key says so.
  const cleans =
    Boolean(config.clean_up_tokenization_spaces) &&
    (!(model instanceof BPE) ||
      Boolean(config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output));

  const toText = (spellings: string[]): string => {
    const text = spellings.length === 0 ? "" : toPieces(spellings).join("");
    return cleans ? cleanUp(text) : text;
  };

  return {
    encode,
    decode: (ids) =>
      toText(ids.map(spelling).filter((each) => each !== undefined && !special.has(each)) as string[]),
    tokenText: (id) => {
      const raw = spelling(id);
      if (raw === undefined) return "";
      const decoded = toText([raw]);
      return decoded === "" || decoded.includes("\ufffd") ? raw : decoded;
    },
  };
}

/** The library lowers whole texts, where a sigma at the end of a word becomes another letter. */
function lowercaseByCharacter(normalizer: Normalizer): void {
  if (normalizer instanceof SequenceNormalizer)
    for (const inner of normalizer.normalizers) if (inner) lowercaseByCharacter(inner);
  if (normalizer instanceof LowercaseNormalizer)
    normalizer.normalize = (text) => Array.from(text, (letter) => letter.toLowerCase()).join("");
}

/** Takes spaces away before punctuation and English endings, as transformers does. */
function cleanUp(text: string): string {
  const pairs = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"];
  return pairs.reduce((cleaned, spaced) => cleaned.replaceAll(spaced, spaced.trim()), text);
}

/** Turns token ids into text one by one, and holds back a character until all its bytes have come. */
export class StreamDecoder {
  readonly ids: number[] = [];
  #before = "";
  #shown = "";
  #replaces = 0;

  /** @param stops - the text ends before the first of these. */
  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly stops: readonly string[] = [],
  ) {}

  /** Forgets the tokens; the text of the next ones follows `before`. What was shown is replaced as far as it differs. */
  restart(before: string): void {
    this.#before = before;
    this.ids.length = 0;
  }

  /** @returns the text that the tokens add; empty if it ends in an incomplete character. */
  push(...ids: readonly number[]): string {
    this.ids.push(...ids);
    const text = this.text;
    this.#replaces = 0;
    if (text.endsWith("\ufffd")) return "";
    let kept = 0;
    while (kept < this.#shown.length && text[kept] === this.#shown[kept]) kept += 1;
    this.#replaces = this.#shown.length - kept;
    this.#shown = text;
    return text.slice(kept);
  }

  /** UTF-16 units at the end of the text before that the last `push` replaces: a clean-up may take spaces away. */
  get replaces(): number {
    return this.#replaces;
  }

  /** The whole text so far. */
  get text(): string {
    const text = this.tokenizer.decode(this.ids);
    return this.#before + text.slice(0, this.#stop(text));
  }

  /** Whether the text has reached a stop. */
  get stopped(): boolean {
    return this.stops.length > 0 && this.#stop(this.tokenizer.decode(this.ids)) !== undefined;
  }

  #stop(text: string): number | undefined {
    const places = this.stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    return places.length > 0 ? Math.min(...places) : undefined;
  }
}
