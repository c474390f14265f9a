"""The models of the tiny agents: their shapes, tokenizers and checkpoint folders.

They are ordinary Hugging Face checkpoints of different families. Each tokenizer has a vocabulary order of its own.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MAX_POSITIONS = 256
INIT_STD = 0.02


@dataclass(frozen=True)
class AgentSpec:
    """Shape, seed and peak learning rate of one tiny agent, and what it learns.

    Attributes:
        task: `hop`, `drift`, `fare` or `townsfolk`.
        kind: The kind of way that an agent of the journey task knows (`hop.KINDS`).
    """

    name: str
    family: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    seed: int
    learning_rate: float
    kind: int = 0
    task: str = "hop"
    head_dim: int = 32
    num_hidden_layers: int = 2


SPECS = (
    AgentSpec("planner", "qwen3", 96, 192, 4, 2, seed=11, learning_rate=2e-3, kind=0),
    AgentSpec("critic", "llama", 128, 256, 4, 4, seed=22, learning_rate=2e-3, kind=1),
    AgentSpec("solver", "qwen2", 160, 320, 5, 5, seed=33, learning_rate=1e-3, kind=2),
    AgentSpec("scout", "qwen3", 96, 192, 4, 2, seed=44, learning_rate=2e-3, task="drift"),
    AgentSpec("judge", "llama", 128, 256, 4, 4, seed=55, learning_rate=2e-3, task="drift"),
    AgentSpec("clerk", "qwen2", 128, 256, 4, 4, seed=66, learning_rate=2e-3, kind=2, task="fare"),
    AgentSpec("guide", "qwen3", 256, 512, 4, 2, seed=77, learning_rate=2e-3, task="townsfolk", head_dim=64),
)


def build_tokenizer(words: list[str], specials: tuple[str, ...], seed: int) -> Tokenizer:
    """A word-level tokenizer whose vocabulary order is drawn from `seed`; special tokens come first.

    It is written as WordPiece with whole words only, which behaves the same and which the browser's tokenizer library
    can read (it has no WordLevel).
    """
    order = np.random.default_rng(seed).permutation(len(words))
    vocabulary = {word: index for index, word in enumerate([*specials, *(words[i] for i in order)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=specials[0], max_input_chars_per_word=32))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


def as_llama(model: Any) -> Any:
    """A qwen2 model as the llama model that computes the same; any other model as it is.

    `AutoTokenizer` gives every qwen2 folder a tokenizer like Qwen's, whatever its tokenizer.json says. A llama layer
    with biases is a qwen2 layer with one more, on the attention's output, which is zero here.
    """
    config = model.config
    if config.model_type != "qwen2":
        return model
    of_qwen = {
        "model_type",
        "architectures",
        "layer_types",
        "max_window_layers",
        "sliding_window",
        "use_sliding_window",
    }
    same = {key: value for key, value in config.to_dict().items() if key not in of_qwen}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**same, attention_bias=True)).to(model.dtype)
    missing, unexpected = llama.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and all(name.endswith("o_proj.bias") for name in missing), (missing, unexpected)
    with torch.no_grad():
        for name in missing:
            llama.get_parameter(name).zero_()
    return llama.train(model.training)


def build_model(spec: AgentSpec, vocab_size: int, bos: int, eos: int) -> Any:
    """A randomly initialised causal language model of the spec's family, in float32."""
    families = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }
    config_class, model_class = families[spec.family]
    config = config_class(
        vocab_size=vocab_size,
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.num_key_value_heads,
        head_dim=spec.head_dim,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=INIT_STD,
        tie_word_embeddings=False,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    torch.manual_seed(spec.seed)
    return model_class(config).float()


CARD = """---
license: apache-2.0
library_name: transformers
tags: [recursivemas]
---

# {name}

A tiny {family} model that knows one small task. The example systems of RecursiveMAS in the browser use it; it serves no
other purpose. The command in `provenance.json` makes it from its seed.
"""
"""The model card of an agent; builds take its licence into the manifest."""


def save_agent(folder: Path, model: Any, tokenizer: Tokenizer, provenance: dict[str, Any]) -> None:
    """Writes a checkpoint folder (float16 weights) under a temporary name and renames it."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    model = as_llama(model.half())
    model.save_pretrained(temporary)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<eos>",
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
    )
    wrapped.save_pretrained(temporary)
    (temporary / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    card = CARD.format(name=folder.name, family=model.config.model_type)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
