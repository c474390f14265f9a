/** From a token's spelling in the vocabulary to text: the decoder of `tokenizer.json`. */
import {
  BPEDecoder,
  ByteLevelDecoder,
  FuseDecoder,
  ReplaceDecoder,
  StripDecoder,
  WordPieceDecoder,
} from "@huggingface/tokenizers";
import { ownOf, type Step } from "./tokenizer-steps";

/** Turns spellings into pieces of text; joined they are the text. */
export type Decode = (tokens: string[]) => string[];

const LIBRARY = { BPEDecoder, Fuse: FuseDecoder, Strip: StripDecoder, WordPiece: WordPieceDecoder } as const;
const ENCODER = new TextEncoder();
/** A byte order mark inside a text is a character like any other. */
const KEEP_MARK = { ignoreBOM: true } as const;

/**
 * @param step - the decoder of `tokenizer.json`.
 * @throws Error if it, or a part of it, is unknown.
 */
export function decoder(step: Step | null | undefined): Decode {
  if (!step) return (tokens) => [tokens.join(" ")];
  switch (step.type) {
    case "Sequence": {
      const inner = (step.decoders as Step[]).map(decoder);
      return (tokens) => inner.reduce((pieces, decode) => decode(pieces), tokens);
    }
    case "ByteLevel":
      return byteLevel();
    case "ByteFallback":
      return byteFallback;
    case "Metaspace":
      return metaspace(step);
    case "Replace": {
      const content = String(step.content).replaceAll("$", "$$$$");
      const library = new ReplaceDecoder({ ...step, content } as never);
      return (tokens) => library.decode_chain(tokens);
    }
    default: {
      const Library = ownOf<(typeof LIBRARY)[keyof typeof LIBRARY]>(LIBRARY, step.type);
      if (!Library)
        throw new Error(
          typeof step.type === "string" ? `unknown decoder ${step.type}` : "a decoder has no type",
        );
      const library = new Library(step as never);
      return (tokens) => library.decode_chain(tokens);
    }
  }
}

/** One letter of a spelling is one byte; a spelling with another letter (an added token's) is text itself. */
function byteLevel(): Decode {
  const bytes = new Map(Object.entries(new ByteLevelDecoder({ type: "ByteLevel" }).byte_decoder));
  const utf8 = new TextDecoder("utf-8", KEEP_MARK);
  return (tokens) => {
    const all = tokens.flatMap((token) => {
      const known = Array.from(token, (letter) => bytes.get(letter));
      return known.includes(undefined) ? [...ENCODER.encode(token)] : known;
    });
    return [utf8.decode(Uint8Array.from(all as number[]))];
  };
}

/** Tokens `<0x00>` to `<0xFF>` in a row are UTF-8; where they are not, each is a replacement character. */
function byteFallback(tokens: string[]): string[] {
  const utf8 = new TextDecoder("utf-8", { ...KEEP_MARK, fatal: true });
  const pieces: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      pieces.push(utf8.decode(Uint8Array.from(bytes)));
    } catch {
      pieces.push(...bytes.map(() => "\ufffd"));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (byte !== undefined) {
      bytes.push(Number.parseInt(byte, 16));
      continue;
    }
    flush();
    pieces.push(token);
  }
  flush();
  return pieces;
}

/** `▁` is a space, but nothing in the first token, unless no space was put before the text. */
function metaspace(step: Step): Decode {
  const mark = String(step.replacement ?? "▁");
  const prepended = step.add_prefix_space !== false && step.prepend_scheme !== "never";
  return (tokens) =>
    tokens.map((token, index) => token.replaceAll(mark, index === 0 && prepended ? "" : " "));
}
