/** `tokenizer.json` through the pure-JavaScript reader, checked on loading. */
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { EngineError } from "./errors";

/** Text ↔ token ids of one agent. */
export interface Tokenizer {
  /** No automatic special tokens; special tokens written in the text are recognised. */
  encode(text: string): number[];
  /** Special tokens are left out. */
  decode(ids: readonly number[]): string;
  /** One token as it is written in the vocabulary, special tokens too. */
  tokenText(id: number): string;
}

/**
 * @param tokenizerJson - content of `tokenizer.json`.
 * @param configJson - content of `tokenizer_config.json`, if the checkpoint has one.
 * @param agent - for messages.
 * @throws EngineError `bad-manifest` when either is not what it should be.
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

/** Turns token ids into text as they come, holding back bytes of characters that are not complete yet. */
export class StreamDecoder {
  readonly ids: number[] = [];
  #shown = "";

  constructor(private readonly tokenizer: Tokenizer) {}

  /** @returns the text that the token adds; empty while a character is incomplete. */
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
