/** Reads `tokenizer.json` with Hugging Face's JavaScript tokenizers. */
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { EngineError } from "./errors";

/** Text ↔ token ids of one agent. */
export interface Tokenizer {
  /** Adds no special tokens, but recognises those that the text spells out. */
  encode(text: string): number[];
  /** Leaves out special tokens. */
  decode(ids: readonly number[]): string;
  /** Shows one token as the vocabulary spells it, special tokens too. */
  tokenText(id: number): string;
}

/**
 * @param tokenizerJson - content of `tokenizer.json`.
 * @param configJson - content of `tokenizer_config.json`, if the checkpoint has one.
 * @param agent - the agent's id, for errors.
 * @throws EngineError `bad-manifest` if either cannot be read.
 */
export function loadTokenizer(
  tokenizerJson: string,
  configJson: string | undefined,
  agent: string,
): Tokenizer {
  let tokenizer: HfTokenizer;
  try {
    tokenizer = new HfTokenizer(
      JSON.parse(tokenizerJson),
      configJson === undefined ? {} : JSON.parse(configJson),
    );
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError(
      "bad-manifest",
      `agent '${agent}': its tokenizer.json cannot be read (${reason})`,
      error,
    );
  }
  return {
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
    decode: (ids) => (ids.length === 0 ? "" : tokenizer.decode([...ids], { skip_special_tokens: true })),
    tokenText: (id) => {
      const decoded = tokenizer.decode([id], { skip_special_tokens: false });
      return decoded === "" || decoded.includes("\ufffd") ? (tokenizer.id_to_token(id) ?? "") : decoded;
    },
  };
}

/** Turns token ids into text one by one, and holds back a character until all its bytes have come. */
export class StreamDecoder {
  readonly ids: number[] = [];
  #shown = "";

  constructor(private readonly tokenizer: Tokenizer) {}

  /** @returns the text that the token adds; empty if it ends in an incomplete character. */
  push(id: number): string {
    this.ids.push(id);
    const text = this.tokenizer.decode(this.ids);
    if (text.endsWith("\ufffd")) return "";
    const added = text.startsWith(this.#shown) ? text.slice(this.#shown.length) : "";
    this.#shown = text;
    return added;
  }

  /** The whole text so far. */
  get text(): string {
    return this.tokenizer.decode(this.ids);
  }
}
