// Written by `make generate` from web/src/engine and web/tools. Do not edit.
let node_fs = require("node:fs");
let _huggingface_tokenizers = require("@huggingface/tokenizers");
// src/formats/errors.ts
var LONGEST_LINE = 1e3;
function oneLine(text) {
	const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
	return line.length <= LONGEST_LINE ? line : `${line.slice(0, 999)}…`;
}
function reasonInFile(thrown) {
	return [
		TypeError,
		RangeError,
		ReferenceError
	].some((kind) => thrown instanceof kind) ? "a part is missing or has another form than expected" : reasonOf(thrown);
}
function reasonOf(thrown) {
	if (typeof thrown === "string" && thrown.trim() !== "") return thrown;
	if (typeof thrown === "object" && thrown !== null) {
		const { message, name } = thrown;
		for (const text of [message, name]) if (typeof text === "string" && text.trim() !== "") return text;
		const kind = thrown.constructor?.name;
		return kind && kind !== "Object" ? `${kind} without a message` : "an error without a message";
	}
	return thrown === void 0 || thrown === null ? "an error without a message" : `an error with the value ${String(thrown)}`;
}
// src/engine/added-tokens.ts
var escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
function sectionsOf(tokens, spelt) {
	const byText = new Map();
	for (const token of tokens) {
		const text = spelt(token);
		if (text !== "" && !byText.has(text)) byText.set(text, token);
	}
	const longestFirst = [...byText.keys()].sort((a, b) => b.length - a.length);
	const pattern = byText.size > 0 ? new RegExp(longestFirst.map(escaped).join("|"), "gu") : void 0;
	return (text) => {
		const sections = [];
		let done = 0;
		const rest = (end) => {
			if (done < end) sections.push({
				text: text.slice(done, end),
				start: done
			});
		};
		for (const match of pattern ? text.matchAll(pattern) : []) {
			const token = byText.get(match[0]);
			let start = match.index;
			let end = start + match[0].length;
			if (!token || token.single_word && insideWord(text, start, end)) continue;
			if (token.lstrip) start = Math.max(done, start - spaceBefore(text.slice(0, start)));
			if (token.rstrip) end += spaceAfter(text.slice(end));
			rest(start);
			sections.push(token);
			done = end;
		}
		rest(text.length);
		return sections;
	};
}
var WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d]";
var ENDS_WITH_WORD = new RegExp(`${WORD}$`, "u");
var STARTS_WITH_WORD = new RegExp(`^${WORD}`, "u");
var insideWord = (text, start, end) => ENDS_WITH_WORD.test(text.slice(0, start)) || STARTS_WITH_WORD.test(text.slice(end));
var spaceBefore = (text) => /\p{White_Space}*$/u.exec(text)?.[0].length ?? 0;
var spaceAfter = (text) => /^\p{White_Space}*/u.exec(text)?.[0].length ?? 0;
// src/engine/errors.ts
var EngineError = class EngineError extends Error {
	code;
	constructor(code, message, cause) {
		super(oneLine(message), cause === void 0 ? void 0 : { cause });
		this.name = "EngineError";
		this.code = code;
	}
	toWire() {
		return {
			code: this.code,
			message: this.message,
			stack: this.stack
		};
	}
	static fromWire(wire) {
		const error = new EngineError(wire.code, wire.message);
		if (wire.stack !== void 0) error.stack = wire.stack;
		return error;
	}
	static from(thrown, code = "internal") {
		if (thrown instanceof EngineError) return thrown;
		if (isOutOfMemory(thrown)) return new EngineError("no-memory", `the browser has no memory left (${reasonOf(thrown)})`, thrown);
		return new EngineError(ofGpu(thrown) ? "out-of-memory" : code, reasonOf(thrown), thrown);
	}
};
function ofGpu(thrown) {
	return typeof GPUOutOfMemoryError !== "undefined" && thrown instanceof GPUOutOfMemoryError;
}
function isOutOfMemory(thrown) {
	return thrown instanceof RangeError && /memory|allocat/i.test(thrown.message);
}
// src/engine/tokenizer-steps.ts
var ANY = "[\\s\\S]";
var PUNCTUATION = "[!-/:-@\\[-`{-~\\p{P}]";
var IDEOGRAPH = "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B81F}\\x{2B920}-\\x{2CEAF}\\x{2F800}-\\x{2FA1F}]";
var WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
var replace = (regex, content) => ({
	type: "Replace",
	pattern: { Regex: regex },
	content
});
var split = (regex, behavior, invert = false) => {
	const merged = {
		Contiguous: `(?:${regex})+`,
		MergedWithPrevious: `(?:(?!${regex})${ANY})*(?:${regex})`,
		MergedWithNext: `(?:${regex})(?:(?!${regex})${ANY})*`
	}[behavior];
	if (merged !== void 0 && !invert) return split(merged, "Isolated");
	return {
		type: "Split",
		pattern: { Regex: regex },
		behavior,
		invert: invert && behavior !== "Isolated"
	};
};
var regexOf = (pattern) => {
	const { Regex, String: plain } = pattern;
	return Regex ?? (plain ?? "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
};
var withLiteralContent = (step) => ({
	...step,
	content: String(step.content ?? "").replaceAll("$", "$$$$")
});
var NORMALIZERS = {
	Replace: withLiteralContent,
	Strip: (step) => [...step.strip_left ? [replace("\\A\\s+", "")] : [], ...step.strip_right ? [replace("\\s+\\z", "")] : []],
	BertNormalizer: (step) => [
		...step.clean_text ? [replace("(?![\\t\\n\\r])[\\p{Cc}\\p{Cf}\\p{Co}\\x{FFFD}]", ""), replace("\\s", " ")] : [],
		...step.handle_chinese_chars ? [replace(IDEOGRAPH, " $& ")] : [],
		...step.strip_accents ?? step.lowercase ? [{ type: "NFD" }, replace("\\p{Mn}", "")] : [],
		...step.lowercase ? [{ type: "Lowercase" }] : []
	]
};
var PRE_TOKENIZERS = {
	Replace: withLiteralContent,
	Split: (step) => split(regexOf(step.pattern), String(step.behavior), Boolean(step.invert)),
	ByteLevel: (step) => [
		...step.add_prefix_space ? [{
			type: "Metaspace",
			replacement: " ",
			prepend_scheme: "always"
		}] : [],
		...step.use_regex ?? true ? [split(WORDS, "Isolated")] : [],
		{
			type: "ByteLevel",
			add_prefix_space: false,
			use_regex: false
		}
	],
	Metaspace: (step) => [{
		...step,
		prepend_scheme: step.add_prefix_space === false ? "never" : step.prepend_scheme ?? "always"
	}, ...step.split ?? true ? [split(regexOf({ String: step.replacement }), "MergedWithNext")] : []],
	Digits: (step) => split(step.individual_digits ? "\\p{N}" : "\\p{N}+", "Isolated"),
	Punctuation: (step) => split(PUNCTUATION, String(step.behavior ?? "Isolated")),
	Whitespace: () => split("\\w+|[^\\w\\s]+", "Removed", true),
	WhitespaceSplit: () => split("\\s+", "Removed"),
	CharDelimiterSplit: (step) => split(regexOf({ String: step.delimiter }), "Removed"),
	BertPreTokenizer: () => [split("\\s+", "Removed"), split(PUNCTUATION, "Isolated")],
	FixedLength: (step) => split(`${ANY}{1,${step.length}}`, "Isolated")
};
function ownOf(table, name) {
	return Object.hasOwn(table, name) ? table[name] : void 0;
}
function rewrite(step, key, rewrites) {
	if (!step) return null;
	const inner = step.type === "Sequence" ? step[key] : [step];
	if (inner.some(({ type }) => typeof type !== "string")) throw new Error(`one of its ${key} has no type`);
	const steps = inner.flatMap((each) => each.type === "Sequence" ? rewrite(each, key, rewrites) ?? [] : ownOf(rewrites, each.type)?.(each) ?? each);
	return {
		type: "Sequence",
		[key]: steps
	};
}
var normalizerSteps = (step) => rewrite(step, "normalizers", NORMALIZERS);
var preTokenizerSteps = (step) => rewrite(step, "pretokenizers", PRE_TOKENIZERS);
// src/engine/tokenizer-decode.ts
var LIBRARY = {
	BPEDecoder: _huggingface_tokenizers.BPEDecoder,
	Fuse: _huggingface_tokenizers.FuseDecoder,
	Strip: _huggingface_tokenizers.StripDecoder,
	WordPiece: _huggingface_tokenizers.WordPieceDecoder
};
var ENCODER = new TextEncoder();
var KEEP_MARK = { ignoreBOM: true };
function decoder(step) {
	if (!step) return (tokens) => [tokens.join(" ")];
	switch (step.type) {
		case "Sequence": {
			const inner = step.decoders.map(decoder);
			return (tokens) => inner.reduce((pieces, decode) => decode(pieces), tokens);
		}
		case "ByteLevel": return byteLevel();
		case "ByteFallback": return byteFallback;
		case "Metaspace": return metaspace(step);
		case "Replace": {
			const content = String(step.content).replaceAll("$", "$$$$");
			const library = new _huggingface_tokenizers.ReplaceDecoder({
				...step,
				content
			});
			return (tokens) => library.decode_chain(tokens);
		}
		default: {
			const Library = ownOf(LIBRARY, step.type);
			if (!Library) throw new Error(typeof step.type === "string" ? `unknown decoder ${step.type}` : "a decoder has no type");
			const library = new Library(step);
			return (tokens) => library.decode_chain(tokens);
		}
	}
}
function byteLevel() {
	const bytes = new Map(Object.entries(new _huggingface_tokenizers.ByteLevelDecoder({ type: "ByteLevel" }).byte_decoder));
	const utf8 = new TextDecoder("utf-8", KEEP_MARK);
	return (tokens) => {
		const all = tokens.flatMap((token) => {
			const known = Array.from(token, (letter) => bytes.get(letter));
			return known.includes(void 0) ? [...ENCODER.encode(token)] : known;
		});
		return [utf8.decode(Uint8Array.from(all))];
	};
}
function byteFallback(tokens) {
	const utf8 = new TextDecoder("utf-8", {
		...KEEP_MARK,
		fatal: true
	});
	const pieces = [];
	let bytes = [];
	const flush = () => {
		if (bytes.length === 0) return;
		try {
			pieces.push(utf8.decode(Uint8Array.from(bytes)));
		} catch {
			pieces.push(...bytes.map(() => "�"));
		}
		bytes = [];
	};
	for (const token of tokens) {
		const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
		if (byte !== void 0) {
			bytes.push(Number.parseInt(byte, 16));
			continue;
		}
		flush();
		pieces.push(token);
	}
	flush();
	return pieces;
}
function metaspace(step) {
	const mark = String(step.replacement ?? "▁");
	const prepended = step.add_prefix_space !== false && step.prepend_scheme !== "never";
	return (tokens) => tokens.map((token, index) => token.replaceAll(mark, index === 0 && prepended ? "" : " "));
}
// src/engine/tokenizer.ts
function loadTokenizer(tokenizerJson, configJson, agent) {
	const guarded = (work) => {
		return (...args) => {
			try {
				return work(...args);
			} catch (error) {
				throw new EngineError("bad-manifest", `agent '${agent}': its tokenizer.json cannot be read (${reasonInFile(error)})`, error);
			}
		};
	};
	const { encode, decode, tokenText } = guarded(() => readTokenizer(JSON.parse(tokenizerJson), configJson === void 0 ? {} : JSON.parse(configJson)))();
	return {
		encode: guarded(encode),
		decode: guarded(decode),
		tokenText: guarded(tokenText)
	};
}
function readTokenizer(json, config) {
	const { type = "", vocab } = json.model;
	if (typeof type !== "string" || type === "" && !vocab) throw new Error("its model has no type");
	const { model, normalizer, pre_tokenizer: preTokenizer } = new _huggingface_tokenizers.Tokenizer({
		model: json.model,
		normalizer: normalizerSteps(json.normalizer),
		pre_tokenizer: preTokenizerSteps(json.pre_tokenizer),
		added_tokens: [],
		decoder: null,
		post_processor: null
	}, {});
	if (!model) throw new Error("it has no model");
	if (normalizer) lowercaseByCharacter(normalizer);
	const normalize = (text) => normalizer ? normalizer(text) : text;
	const added = json.added_tokens ?? [];
	const isNormalised = ({ special, normalized }) => normalized ?? !special;
	const spelt = (token) => isNormalised(token) ? normalize(token.content) : token.content;
	const whole = sectionsOf(added.filter((token) => !isNormalised(token)), spelt);
	const normalised = sectionsOf(added.filter(isNormalised), spelt);
	const byteId = (byte) => model.tokens_to_ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
	const bytesInstead = model instanceof _huggingface_tokenizers.Unigram && "byte_fallback" in json.model && json.model.byte_fallback === true;
	const pieceIds = (piece) => model([piece]).flatMap((token) => {
		const id = model.tokens_to_ids.get(token);
		if (id !== void 0) return id;
		const bytes = bytesInstead ? Array.from(new TextEncoder().encode(token), byteId) : [void 0];
		return bytes.includes(void 0) ? model.unk_token_id : bytes;
	});
	const encode = (text) => {
		const ids = [];
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
		return ids.filter((id) => id !== void 0);
	};
	const addedText = new Map(added.map((token) => [token.id, spelt(token)]));
	const special = new Set(added.filter((token) => token.special).map(({ content }) => content));
	const spelling = (id) => addedText.get(id) ?? model.vocab[id];
	const toPieces = decoder(json.decoder);
	const cleans = Boolean(config.clean_up_tokenization_spaces) && (!(model instanceof _huggingface_tokenizers.BPE) || Boolean(config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output));
	const toText = (spellings) => {
		const text = spellings.length === 0 ? "" : toPieces(spellings).join("");
		return cleans ? cleanUp(text) : text;
	};
	return {
		encode,
		decode: (ids) => toText(ids.map(spelling).filter((each) => each !== void 0 && !special.has(each))),
		tokenText: (id) => {
			const raw = spelling(id);
			if (raw === void 0) return "";
			const decoded = toText([raw]);
			return decoded === "" || decoded.includes("�") ? raw : decoded;
		}
	};
}
function lowercaseByCharacter(normalizer) {
	if (normalizer instanceof _huggingface_tokenizers.SequenceNormalizer) {
		for (const inner of normalizer.normalizers) if (inner) lowercaseByCharacter(inner);
	}
	if (normalizer instanceof _huggingface_tokenizers.LowercaseNormalizer) normalizer.normalize = (text) => Array.from(text, (letter) => letter.toLowerCase()).join("");
}
function cleanUp(text) {
	return [
		" .",
		" ?",
		" !",
		" ,",
		" ' ",
		" n't",
		" 'm",
		" 's",
		" 've",
		" 're"
	].reduce((cleaned, spaced) => cleaned.replaceAll(spaced, spaced.trim()), text);
}
// tools/tokenizer-probe.mjs
var { tokenizer, config, texts, ids } = JSON.parse((0, node_fs.readFileSync)(0, "utf8"));
function probe() {
	try {
		const { encode, decode } = loadTokenizer(tokenizer, config ?? void 0, "agent");
		const encoded = texts.map(encode);
		return {
			encoded,
			decoded: [...encoded, ...ids].map(decode)
		};
	} catch (error) {
		return { error: error instanceof Error ? error.message : String(error) };
	}
}
var rest = Buffer.from(JSON.stringify(probe()));
while (rest.length > 0) try {
	rest = rest.subarray((0, node_fs.writeSync)(1, rest));
} catch (error) {
	if (error.code !== "EAGAIN") throw error;
}
