"""The paper's systems in the files of its release, with tiny random agents of their families and random links."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from harness.tiny_models import CASES, Case, make_model

_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_THINKS = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Chat:
    """How an agent's tokenizer writes a conversation.

    Attributes:
        template: Of the form that the family's published one has.
        tokens: Special tokens; the last one ends a turn.
        bos: The one before everything, if there is one.
    """

    template: str
    tokens: tuple[str, ...]
    bos: str | None = None


CHATS: Mapping[str, Chat] = {
    "qwen2": Chat(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nBe of use.<|im_end|>\n{% endif %}" + _CHATML,
        _CHATML_TOKENS,
    ),
    "qwen3": Chat(_CHATML.replace("assistant\n{% endif %}", f"assistant\n{_THINKS}{{% endif %}}"), _CHATML_TOKENS),
    "qwen3_5": Chat(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
        "{% else %}<think>\n{% endif %}{% endif %}",
        _CHATML_TOKENS,
    ),
    "llama": Chat(
        "{{ bos_token }}{% set day = strftime_now('%d %b %Y') %}<|start_header_id|>system<|end_header_id|>\n\n"
        "Today: {{ day }}\n\n{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
        "{% set messages = messages[1:] %}{% endif %}<|eot_id|>{% for m in messages %}"
        "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
    ),
    "mistral": Chat(
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
        "[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "<s>",
    ),
    "gemma3_text": Chat(
        "{{ bos_token }}{% set first = '' %}{% if messages[0].role == 'system' %}"
        "{% set first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
        "{% for m in messages %}<start_of_turn>{{ m.role }}\n{% if loop.first %}{{ first }}{% endif %}"
        "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
    ),
}
"""Chat templates by family: with a default persona, a switch, the date, no system turn, and a merged one."""


@dataclass(frozen=True)
class Style:
    """One of the paper's systems.

    Attributes:
        families: Of its agents, by role and in order.
        scoped: Whether its links are trained for mathematics and for code apart.
        edges: Legacy key, sender and receiver of each outer link.
    """

    families: Mapping[str, str]
    scoped: bool
    edges: Sequence[tuple[str, str, str]]


_CHAIN = (("outer_12", "planner", "critic"), ("outer_23", "critic", "solver"), ("outer_31", "solver", "planner"))
_STAR = tuple(
    (key, *ends)
    for number, expert in enumerate(("math", "code", "science"), 1)
    for key, ends in (
        (f"outer_{number}s", (expert, "summarizer")),
        (f"outer_s{number}", ("summarizer", expert)),
    )
)

STYLES: Mapping[str, Style] = {
    "sequential-light": Style({"planner": "qwen3", "critic": "llama", "solver": "qwen2"}, True, _CHAIN),
    "sequential-scaled": Style({"planner": "gemma3_text", "critic": "llama", "solver": "qwen3_5"}, True, _CHAIN),
    "mixture": Style({"math": "qwen2", "code": "qwen2", "science": "mistral", "summarizer": "qwen3_5"}, False, _STAR),
    "distillation": Style(
        {"expert": "qwen3_5", "learner": "qwen3_5"},
        True,
        (("outer_el", "expert", "learner"), ("outer_le", "learner", "expert")),
    ),
    "deliberation": Style(
        {"reflector": "qwen3_5", "toolcaller": "qwen3_5"},
        False,
        (("outer_rt", "reflector", "toolcaller"), ("outer_tr", "toolcaller", "reflector")),
    ),
}

_HIDDEN = (72, 48, 80, 56)
_CALM = {"qwen3_5": 0.3}
"""Of `make_model`'s matrices, which are so lively that three rounds multiply the rounding errors of float32 a lot; 0.75
by default."""
_ONE_MORE = ("qwen3_5", "gemma3_text")
"""Families whose norms add 1 to their weights."""
_INNER_SHAPES = {
    **{f"{norm}.{part}": ("d",) for norm in ("pre_ln", "post_ln") for part in ("weight", "bias")},
    **{"proj1.weight": ("d", "d"), "proj1.bias": ("d",), "proj2.weight": ("d", "d"), "proj2.bias": ("d",)},
}
_OUTER_SHAPES = {
    **{f"ln_source.{part}": ("s",) for part in ("weight", "bias")},
    **{f"ln_target.{part}": ("t",) for part in ("weight", "bias")},
    **{"proj1.weight": ("w", "s"), "proj1.bias": ("w",), "proj2.weight": ("t", "w"), "proj2.bias": ("t",)},
    **{"residual_proj.weight": ("t", "s"), "residual_proj.bias": ("t",)},
}


def make_style(root: Path, name: str) -> dict[str, Path]:
    """Writes a system as its download would be: a folder for each agent with its inner links, and the outer links.

    Args:
        root: Gets a folder for each role, and `outer`.
        name: A key of `STYLES`.

    Returns:
        The folders by role, and `outer`.
    """
    style = STYLES[name]
    for seed, (role, family) in enumerate(style.families.items()):
        make_agent(root / role, family, _HIDDEN[seed], seed)
    make_links(root, name)
    return {role: root / role for role in (*style.families, "outer")}


def make_links(root: Path, name: str) -> None:
    """Writes the links of a system alone, as its download would have them."""
    style = STYLES[name]
    sizes = dict(zip(style.families, _HIDDEN, strict=False))
    tasks = ("math", "code") if style.scoped else (None,)
    for seed, role in enumerate(style.families):
        _write_inner(root / role, sizes[role], tasks, seed)
    _write_outer(root / "outer", style, sizes, tasks)


def make_agent(folder: Path, family: str, hidden: int, seed: int) -> None:
    """Writes a random float32 checkpoint with a byte-level tokenizer and the family's chat template."""
    chat = CHATS[family]
    tokenizer = _tokenizer(folder, chat)
    case = next(case for case in CASES if case.name == family)
    end = tokenizer.token_to_id(chat.tokens[-1])
    shape = {
        **case.shape,
        "hidden_size": hidden,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 2048,
        "bos_token_id": None if chat.bos is None else tokenizer.token_to_id(chat.bos),
        "eos_token_id": end,
    }
    model: Any = make_model(Case(family, case.architecture, shape, 100 + seed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter.mul_(_CALM.get(family, 0.75))
            elif family in _ONE_MORE and name.endswith("norm.weight") and "linear_attn" not in name:
                parameter.sub_(1)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)


def _tokenizer(folder: Path, chat: Chat) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={text: id_ for id_, text in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizers.NFC() if chat.tokens == _CHATML_TOKENS else None  # as AutoTokenizer has it
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in chat.tokens])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": chat.tokens[-1],
        "pad_token": chat.tokens[0],
        "chat_template": chat.template,
    }
    if chat.bos is not None:
        settings["bos_token"] = chat.bos
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tokenizer


def _random(shapes: Mapping[str, tuple[str, ...]], sizes: Mapping[str, int], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, sides in shapes.items():
        value = torch.randn([sizes[side] for side in sides], generator=generator)
        norm = name.endswith(".weight") and len(sides) == 1
        state[name] = 1 + 0.2 * value if norm else value / value.shape[-1] ** 0.5
    return state


def _write_inner(folder: Path, size: int, tasks: Sequence[str | None], seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = {task: "adapter.pt" if task is None else f"adapter({task}).pt" for task in tasks}
    for number, file in enumerate(files.values()):
        torch.save(_random(_INNER_SHAPES, {"d": size}, 1000 + 10 * seed + number), folder / file)
    named = {task: {"adapter.pt": file, "adapter_config.json": "adapter_config.json"} for task, file in files.items()}
    manifest = {"format_version": 1} if None in named else {"format_version": 1, "tasks": named}
    (folder / "innerlink_config.json").write_text(json.dumps(manifest), encoding="utf-8")
    settings = {"adapter_type": "ln_res_adapter", "hidden_size": size}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _write_outer(folder: Path, style: Style, sizes: Mapping[str, int], tasks: Sequence[str | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    adapters: dict[str | None, list[dict[str, str]]] = {}
    for number, task in enumerate(tasks):
        adapters[task] = []
        for place, (key, source, target) in enumerate(style.edges):
            file = f"{source.title()}-{target.title()}-Outerlink{f'({task})' if task else ''}.pt"
            shape = {"s": sizes[source], "t": sizes[target], "w": 2 * sizes[target]}
            torch.save(_random(_OUTER_SHAPES, shape, 2000 + 100 * number + place), folder / file)
            adapters[task].append({"legacy_key": key, "filename": file, "source": source, "target": target})
    scoped = {task: {"adapters": entries} for task, entries in adapters.items()}
    manifest = {"format_version": 1, **({"adapters": adapters[None]} if None in adapters else {"tasks": scoped})}
    (folder / "outerlink_config.json").write_text(json.dumps(manifest), encoding="utf-8")
