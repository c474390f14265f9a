"""The texts by which a checkpoint's tokenizer is compared in transformers and in the page.

Most texts are short, so that a refusal shows what differs. They reach what readers of `tokenizer.json` are known to do
differently: Unicode's classes of characters, normal forms, white space, bytes that are no UTF-8, and added tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from unicodedata import category, normalize, ucd_3_2_0

_SCRIPTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "Привет, мир! Как дела?",
    "Γειά σου Κόσμε, ΟΔΟΣ ὀδυσσεύς",
    "שלום עולם, מה שלומך?",
    "مرحبا بالعالم، كيف حالك؟",
    "فارسی می‌نویسم",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "বাংলা ভাষায় লেখা",
    "ਪੰਜਾਬੀ ਗੁਰਮੁਖੀ",
    "தமிழ் மொழி",
    "తెలుగు భాష",
    "ಕನ್ನಡ ನಾಡು",
    "മലയാളം ഭാഷ",
    "සිංහල භාෂාව",
    "ภาษาไทยไม่มีช่องว่าง",
    "ພາສາລາວ",
    "မြန်မာဘာသာစကား",
    "ភាសាខ្មែរ",
    "བོད་ཡིག་ནི",
    "ქართული ენა ᲥᲐᲠᲗᲣᲚᲘ",
    "Հայերեն լեզու",
    "አማርኛ ቋንቋ።",
    "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "ᏣᎳᎩ ꭳꮃꭹ",
    "你好，世界！今天天气很好。",
    "繁體中文測試，漢字",
    "𠀀𠮷𪚥 rare ideographs 㐀䶵",
    "こんにちは世界。カタカナとひらがな",
    "ﾊﾝｶｸｶﾅ ｶﾞｷﾞ",
    "안녕하세요 세계",
    "ｆｕｌｌｗｉｄｔｈ　ＡＢＣ１２３！？",
    "Tiếng Việt có dấu thanh",
    "Türkçe İstanbul IŞIK ışık",
    "ß ẞ straße STRASSE",
    "Ǆ ǅ ǆ Ǉ ǈ ǉ",
    "ﬁ ﬂ ﬃ ﬅ Ĳ ŉ",
    "Åström naïve café résumé Übergröße",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒮𝒸𝓇𝒾𝓅𝓉 𝟘𝟙𝟚",
    "𐌰𐌽𐍈 𐐀𐐨 𐎠𐎡",
    "mixed Ελληνικά и русский 中文 हिंदी in one line",
    "ⲁⲃⲅ ⴰⴱⴳ ꙮ ꜀ ﷺ",
)
_EMOJI = (
    "😀",
    "😀😃😄😁",
    "I ❤️ you ❤",
    "👍🏽 👍🏿 👍",
    "👨‍👩‍👧‍👦 family",
    "👩🏽‍💻👨‍🚀",
    "🏳️‍🌈 🏴‍☠️",
    "🇩🇪🇫🇷🇯🇵",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f flag",
    "1️⃣2️⃣#️⃣*️⃣",
    "⌚️⌚︎ ☎️☎︎",
    "🫠🫨🪿🛜",
    "smile:) 🙂 :-( ☹️ ¯\\_(ツ)_/¯",
    "a😀b c 😀 d",
    "🧑‍🧑‍🧒 ➡️ ⬅️",
    "\ue000\uf8ff private",
)
_COMBINING = (
    "é é",
    "ñ ñ ṩ ṩ ṩ",
    "q̣̇ q̣̇",
    "Z͑ͫ̓a̴l̷g̶o̵",
    "각 각",
    "क्षि क्‍षि",
    "Å Å Å",
    "Ω Ω K K",
    "שָׁלוֹם",
    "مُحَمَّد",
    "ก็ กำ กํา",
    "ệ ệ",
    "̀leading mark",
    "a⃝ b⃣ c⃠",
    "ä̈̈",
    "〆〇〻 豈 豈",
    "½ ¾ ⅓ ⅛ ⅐",
    "x² y³ z⁴ ⁿ ₀₁",
    "™ ℠ ℡ ℻ №",
    "①②③ ⑴ ⒈ Ⓐ ㊀",
    "Ⅷ ⅷ ↂ",
    "㎏ ㎡ ㏒ ㍿ ㋀",
    "… ‥ ‼ ⁇ ⁈",
    "～ 〜 ∼ ˜",
    "ſ ẛ̣",
    "ｶﾞ ガ か゚",
    "\u1e9b\u0323 \u03d3 \u0344",
    "\u0f73\u0f75 \u0340\u0341",
    "\u2126\u212b\u212a",
    "\u2000\u2001 quads",
)
_SPACES = (
    "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\xad", "\u034f", "\u061c", "\u115f",
    "\u1680", "\u180e", "\u2000", "\u2003", "\u2007", "\u2009", "\u200a", "\u200b", "\u200c", "\u200d", "\u200e",
    "\u200f", "\u2028", "\u2029", "\u202e", "\u202f", "\u205f", "\u2060", "\u2062", "\u2066", "\u3000", "\u3164",
    "\ufe0f", "\ufeff", "\ufffc", "\ufffd", "\x00", "\x01", "\x07", "\x08", "\x1b", "\x7f", "\x80", "\x8f", "\x9f",
)  # fmt: skip
_WHITE = (
    "",
    " ",
    "  ",
    "   ",
    "        ",
    "\n\n",
    "\n\n\n\n",
    " \n",
    "\n ",
    "\r\n",
    "\r\n\r\n",
    "\t\t\t",
    " \t \n \t ",
    " leading",
    "  two leading",
    "trailing ",
    "trailing  ",
    "trailing\n",
    "trailing\r\n",
    "a  b   c    d",
    "line one\nline two\r\nline three\rline four",
    "para one\n\n\npara two",
    "    indented\n        more\n\tand a tab",
    "a\xa0b\xa0\xa0c",
    "one\u3000two\u3000\u3000three",
    "\ufeffbyte order mark",
    "in\ufeffside and at the end\ufeff",
    "\ufeff \ufeff\n\ufeff",
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word",
    "x\u2028y\u2029z",
    "▁ ▁▁ a▁b ▁c",
    "Ġ Ċ Ġa Ċb",
    "## ##ing @@ word@@ </w>",
    "\u2581",
    "a \u2581 b",
)
_DIGITS = (
    "0",
    "7",
    "42",
    "123",
    "1234",
    "12345",
    "123456789012345678901234567890",
    "3.14159",
    "1,000,000.00",
    "-1e-10 +2E+5",
    "0x1F 0b1010 0o17",
    "1/2 + 3/4 = 5/4",
    "2024-01-31T12:34:56.789Z",
    "+1 (555) 123-4567",
    "v1.2.3-rc.4+build.5",
    "a1b2c3",
    "1a 2b 3c",
    "50% of $9.99 is €5",
    "١٢٣٤٥ ۱۲۳",
    "१२३ ১২৩ ௧௨௩",
    "๑๒๓ ໑໒ ༡༢",
    "１２３ ４５",
    "𝟏𝟐𝟑 𝟬𝟭",
    "一二三 〇 十百千",
    "1½ 2⅓ ¼",
    "x²+y²=z² 10³",
    "①② Ⅳ ⅺ",
    "9٣9 3²3 7Ⅳ7",
    "፩፪ ᭐ ꩐ 𐒠",
    "1st 2nd 3rd 4th",
    "10:30am 10 : 30",
    "192.168.0.1/24",
    "007 0000 00",
)
_PROSE = (
    "I'm you're he's we've they'll she'd don't can't",
    "I'M YOU'RE HE'S WE'VE DON'T",
    "i’m you’re don’t ‘quoted’ “double”",
    "x !=3",
    "a , b . c ? d ! e",
    "do n't 's ' m 've 're",
    " ' quoted ' and n't",
    'He said : " hello , world . "',
    "( a ) [ b ] { c } < d >",
    "wait... what?!?! no!!!",
    "--- *** ___ ~~~ ```",
    "e-mail: a.b+c@d-e.co.uk, https://x.y/z?q=1&r=%20#frag",
    "#hashtag @mention $TICKER",
    "CamelCase snake_case kebab-case SCREAMING_CASE mixedCASE",
    "ALL CAPS and lower",
    "a",
    "A",
    ".",
    "..",
    "\\",
    "'",
    '"',
    "''",
    "don''t 'em 'tis",
    "'S 'T 'RE 'LL",
    "'ſ Kelvin K's ſ's",
    "«guillemets» „low“ ‹single›",
    "em—dash en–dash hyphen-minus ‐ ‑ − ",
    "° § ¶ † ‡ • · × ÷ ± ≠ ≤ ≥ ∞ √ ∑ ∫",
    "← → ↔ ⇒ ∀x∈ℝ: x²≥0",
    "H₂O CO₂ E=mc²",
    "┌─┐│█▓▒░",
    "¿Qué? ¡Sí!",
    "I,II,III;IV:V",
    "word.word,word;word:word",
    "TheEnd.NewSentence?Yes!No",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "asdfghjkl qwertyuiop zxcvbnm",
    "Step 1: add 2 and 2.\nStep 2: the answer is 4.\n\nAnswer: 4",
    "The answer is \\boxed{\\frac{1}{2}}.",
    "$\\left( 3, 4 \\right)$ and $$\\sum_{i=0}^{n} x_i$$",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "- item\n  - nested\n1. first\n",
    "# Title\n\n**bold** _it_ `code` [link](url)\n",
)
_CODE = (
    "def f(x):\n    return x ** 2  # square\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "const f = async (x) => await g(`${x}`) ?? null;",
    "if (a && b || !c) { return a != b; }",
    "SELECT * FROM t WHERE a = 'b' AND c >= 1;",
    '{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}',
    '<div class="a"><p>text &amp; more</p></div>',
    "<!-- comment --> <br/>",
    "#include <stdio.h>\n#define X(a) ((a)+1)\n",
    "\\begin{align} x &= y \\\\ \\end{align}",
    "echo \"$HOME\" | grep -E '^/.*$' > /dev/null 2>&1",
    "\tif err != nil {\n\t\treturn err\n\t}\n",
    "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }",
    "x = [i for i in range(10) if i % 2 == 0]",
    "std::vector<std::pair<int,int>> v;",
    "0xDEADBEEF 0b01 1_000_000 1e9 .5 5.",
    "a->b->c; *p++ = &q; x ?: y",
    '"""doc\n\nstring"""',
    "C:\\Users\\name\\file.txt /usr/local/bin",
    "%s %d %5.2f {0} {name!r:>10}",
    "\\x41 \\u0041 \\N{DASH} \\n\\t",
    'git commit -m "msg" && git push --force',
    "=====\n-----\n+++++\n",
    "a\n\n    b\n\n\n        c",
    "\n\n\n\n\n\n",
    "}\n}\n}\n",
    "();\n\n});\n",
    "# -*- coding: utf-8 -*-\n",
    '<tool_call>\n{"name": "f"}\n</tool_call>',
    "<think>\nhm\n</think>\n\n42",
    "<calc>12*(3+4)</calc>",
)
_LOOKALIKES = (
    "<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS] a [SEP]", "[UNK]", "[INST] a [/INST]", "<|endoftext|>",
    "<|im_start|>user\nhi<|im_end|>\n", "<|begin_of_text|>", "<|eot_id|>", "<bos>", "<eos>", "<start_of_turn>",
    "<|user|>", "<0x41>", "<0xFF> <0xE2><0x96><0x81>", "<s >", "< s>", "<|im_start |>", "a<s>b</s>c", "<extra_id_0>",
    "<<SYS>>\nx\n<</SYS>>",
)  # fmt: skip


def probe_texts(added_tokens: Sequence[str]) -> Iterator[str]:
    """The corpus: more than 300 texts, and texts with a tokenizer's own added tokens.

    Args:
        added_tokens: Texts of the added tokens of the tokenizer, special ones and others.
    """
    for group in (_WHITE, _SCRIPTS, _EMOJI, _COMBINING, _DIGITS, _PROSE, _CODE, _LOOKALIKES):
        yield from group
    for space in _SPACES:
        yield f"a{space}b"
        yield f"{space}a {space}1{space}{space}. {space}"
    for text in (*_SCRIPTS, *_COMBINING):
        yield normalize("NFD", text)
        yield normalize("NFKC", text)
    yield from filter(None, _ranges())
    yield from _long()
    yield from _around(added_tokens)


def _ranges() -> Iterator[str]:
    """Every character of the first blocks and samples of later ones, about 64 in a text.

    Only those of Unicode 3.2 that kept their category: readers have tables of different versions.
    """
    for start in range(0x20, 0x2C00, 64):
        yield "".join(_assigned(range(start, start + 64)))
    for start in (*range(0x2E80, 0xD800, 0x400), *range(0xF900, 0x10000, 0x80), *range(0x10000, 0x30000, 0x400)):
        yield " ".join(_assigned(range(start, start + 64)))


def _assigned(points: Iterable[int]) -> Iterator[str]:
    return (each for each in map(chr, points) if category(each) == ucd_3_2_0.category(each) != "Cn")


def _long() -> Iterator[str]:
    """Texts of thousands of characters, with and without spaces."""
    yield " ".join(_SCRIPTS + _EMOJI + _PROSE + _CODE + _DIGITS)
    yield "".join(_SCRIPTS + _COMBINING + _PROSE) * 3
    yield "abcdefgh" * 400
    yield "word " * 800
    yield " " * 1000
    yield "\n" * 500
    yield "1234567890" * 200
    yield "中文" * 500
    yield "😀" * 300
    yield "=" * 700 + "\n" + "-" * 700


def _around(added_tokens: Sequence[str]) -> Iterator[str]:
    """Added tokens alone, inside words, between spaces, and side by side; at most 48 of them, first and last ones."""
    few = added_tokens if len(added_tokens) <= 48 else (*added_tokens[:32], *added_tokens[-16:])
    for token in few:
        yield token
        yield f"a{token}b"
        yield f" a {token} b "
        yield f"{token}\n{token}{token}  {token}a"
    yield "".join(few)
    yield " x ".join(few)
