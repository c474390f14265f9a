"""Tiny agents, causal language models of different families, each made from a seed.

They are ordinary Hugging Face checkpoint folders with real tokenizers, each with a vocabulary order of its own, taught
one synthetic task (`tasks/`) alone and frozen afterwards. Source: shared lab notes. Noise on the embeddings of
state tokens teaches an agent to read a state that is only nearly an embedding, which is what a latent thought is.
"""

import argparse
import functools
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from recursivemas.training.tasks import drift, fare, hop

Draw: TypeAlias = Callable[[np.random.Generator, int, int], hop.Batch | drift.Batch]

MAX_POSITIONS = 256
INIT_STD = 0.02


@dataclass(frozen=True)
class AgentSpec:
    """Shape, seed and peak learning rate of one tiny agent, and what it learns.

    Attributes:
        task: `hop`, `drift` or `fare`.
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
)


@dataclass(frozen=True)
class Pretraining:
    """Steps, batch and schedule of teaching one agent the task."""

    steps: int = 2600
    batch_size: int = 64
    warmup_steps: int = 100
    scale_noise: float = 0.3
    additive_noise: float = 0.5


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


def noisy_embeddings(embedded: torch.Tensor, states: torch.Tensor, settings: Pretraining) -> torch.Tensor:
    """Scales and shakes the embeddings of state tokens.

    Args:
        embedded: (B, T, D).
        states: (B, T) bool.
        settings: Sizes of the noise: log-scale deviation, and the largest additive noise relative to the norm.
    """
    batch, length, size = embedded.shape
    scale = torch.exp(settings.scale_noise * torch.randn(batch, length, 1))
    relative = settings.additive_noise * torch.rand(batch, length, 1)
    norm = embedded.detach().norm(dim=-1, keepdim=True) / math.sqrt(size)
    noisy = embedded * scale + torch.randn_like(embedded) * relative * norm
    return torch.where(states[..., None], noisy, embedded)


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def lesson(spec: AgentSpec, vocabulary: dict[str, int]) -> tuple[Draw, int, int]:
    """What an agent is taught: how a batch (rng, B, ring length) is drawn, and the shortest and longest ring."""
    if spec.task == "drift":
        return functools.partial(_draw_drift, vocabulary), 4, len(drift.SYMBOLS)
    if spec.task == "fare":
        return functools.partial(_draw_fare, vocabulary, spec.kind), 3, len(hop.SYMBOLS)
    return functools.partial(_draw_hop, hop.Ids.of(vocabulary), spec.kind), 3, len(hop.SYMBOLS)


def _draw_hop(ids: hop.Ids, kind: int, rng: np.random.Generator, batch: int, length: int) -> hop.Batch:
    return hop.pretraining_batch(rng, ids, batch, length, kind)


def _draw_fare(vocabulary: dict[str, int], kind: int, rng: np.random.Generator, batch: int, length: int) -> hop.Batch:
    return fare.pretraining_batch(rng, vocabulary, batch, length, kind)


def _draw_drift(vocabulary: dict[str, int], rng: np.random.Generator, batch: int, length: int) -> drift.Batch:
    return drift.pretraining_batch(rng, vocabulary, batch, length)


def embed_batch(embed: Any, batch: hop.Batch | drift.Batch) -> torch.Tensor:
    """(B, T, D) input embeddings; mixtures where the batch has them."""
    tokens = torch.from_numpy(batch.ids)
    if isinstance(batch, hop.Batch):
        embedded: torch.Tensor = embed(tokens)
        return embedded
    share = torch.from_numpy(batch.weights).float()[..., None]
    mixed: torch.Tensor = embed(tokens[..., 0]) * share + embed(tokens[..., 1]) * (1 - share)
    return mixed


def lesson_loss(logits: torch.Tensor, batch: hop.Batch | drift.Batch) -> torch.Tensor:
    """Cross-entropy at scored positions, (N, V) logits; a mixture's two tokens have half of the probability each."""
    wanted = torch.from_numpy(batch.scored[:, 1:])
    tokens = torch.from_numpy(batch.ids[:, 1:])[wanted]
    if tokens.ndim == 1:
        return torch.nn.functional.cross_entropy(logits, tokens)
    logits, both = logits.repeat_interleave(tokens.shape[1], 0), tokens.flatten()
    return torch.nn.functional.cross_entropy(logits, both)


def pretrain(
    spec: AgentSpec, model: Any, vocabulary: dict[str, int], settings: Pretraining, log_every: int = 200
) -> list[float]:
    """Teaches a model its task in place.

    Returns:
        The loss every `log_every` steps.
    """
    rng = np.random.default_rng(spec.seed + 1)
    torch.manual_seed(spec.seed + 2)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=spec.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, settings.warmup_steps, settings.steps)
    )
    embed = model.get_input_embeddings()
    draw, shortest, longest = lesson(spec, vocabulary)
    losses, began = [], time.perf_counter()
    for step in range(settings.steps):
        length = min(longest, shortest + round((longest - shortest) * 2 * step / settings.steps))
        batch = draw(rng, settings.batch_size, length)
        inputs = noisy_embeddings(embed_batch(embed, batch), torch.from_numpy(batch.states), settings)
        hidden = model.model(inputs_embeds=inputs[:, :-1], use_cache=False).last_hidden_state
        loss = lesson_loss(model.lm_head(hidden[torch.from_numpy(batch.scored[:, 1:])]), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % log_every == 0:
            losses.append(loss.item())
            print(f"{spec.name} {step + 1}/{settings.steps} loss {loss.item():.4f} {time.perf_counter() - began:.0f}s")
    return losses


@torch.no_grad()
def chain_accuracy(spec: AgentSpec, model: Any, vocabulary: dict[str, int], seed: int, batch: int = 512) -> float:
    """Share of chain tokens predicted from clean embeddings on full rings; of a mixture either token is right."""
    draw, _, longest = lesson(spec, vocabulary)
    drawn = draw(np.random.default_rng(seed), batch, longest)
    inputs = embed_batch(model.get_input_embeddings(), drawn)
    guesses = model(inputs_embeds=inputs[:, :-1]).logits.argmax(-1)
    tokens = torch.from_numpy(drawn.ids)[:, 1:]
    right = guesses == tokens if tokens.ndim == 2 else (guesses[..., None] == tokens).any(-1)
    return float(right[torch.from_numpy(drawn.states & drawn.scored)[:, 1:]].float().mean())


CARD = """---
license: apache-2.0
library_name: transformers
tags: [recursivemas]
---

# {name}

A tiny {family} that knows one small task, for the systems of RecursiveMAS in the browser; of no use elsewhere. It was
made from its seed by the command in `provenance.json`.
"""
"""Says above all under which licence the agent may be passed on; builds carry that into the manifest."""


def save_agent(folder: Path, model: Any, tokenizer: Tokenizer, provenance: dict[str, Any]) -> None:
    """Writes a checkpoint folder (float16 weights) under a temporary name and renames it."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    model.half().save_pretrained(temporary)
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


def make_agent(spec: AgentSpec, out: Path, settings: Pretraining) -> float:
    """Makes one agent's folder `out/<name>`; returns its accuracy per thought after rounding to float16."""
    words = {"hop": hop.words, "drift": drift.words, "fare": fare.words}[spec.task]()
    tokenizer = build_tokenizer(words, hop.SPECIALS, spec.seed)
    vocabulary = tokenizer.get_vocab()
    model = build_model(spec, len(vocabulary), vocabulary["<bos>"], vocabulary["<eos>"])
    losses = pretrain(spec, model, vocabulary, settings)
    accuracy = chain_accuracy(spec, model.half().float().eval(), vocabulary, seed=spec.seed + 3)
    provenance = {
        "command": f"python -m recursivemas.training.tiny --out systems/agents --agent {spec.name}",
        "seed": spec.seed,
        "steps": settings.steps,
        "losses": losses,
        "task": spec.task,
        "chain_accuracy": accuracy,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    save_agent(out / spec.name, model, tokenizer, provenance)
    return accuracy


def main() -> None:
    """Command line: `python -m recursivemas.training.tiny --out systems/agents [--agent planner]`."""
    parser = argparse.ArgumentParser(description="Make the tiny agents from their seeds.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agent", choices=[spec.name for spec in SPECS], action="append")
    parser.add_argument("--steps", type=int, default=Pretraining.steps)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for spec in SPECS:
        if arguments.agent is None or spec.name in arguments.agent:
            accuracy = make_agent(spec, arguments.out, Pretraining(steps=arguments.steps))
            print(f"{spec.name}: {accuracy:.4f} of thoughts right")


if __name__ == "__main__":
    main()
