"""One agent's turn: prefill, latent steps through the inner link, decoding. Batched, cached, differentiable.

Source: arXiv 2604.25917, latent rollout; docs/recursion.md, rules 3 and 5. The published code runs the whole sequence
again for every latent step; here the KV cache is extended in the forward pass and gradients flow back through it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recursivemas.training.agents import LoadedAgent

Inner: TypeAlias = Callable[[Tensor], Tensor]


@dataclass
class Context:
    """What an agent has read so far: KV cache and which positions are real.

    Attributes:
        cache: transformers' cache, extended out of place, so that gradients flow through it.
        valid: (B, T) bool; padding is False. None when there is no padding anywhere.
        length: T, padding included.
    """

    cache: Any
    valid: Tensor | None = None
    length: int = 0


def left_pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Joins prompts of different lengths.

    Args:
        rows: B tensors (T_b, D).

    Returns:
        (B, T, D), zeros on the left, and (B, T) bool of real positions, None when all are real.
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    if min(lengths) == longest:
        return torch.stack(list(rows)), None
    padded = pad_sequence([row.flip(0) for row in rows], batch_first=True).flip(1)
    positions = torch.arange(longest, device=padded.device)[None]
    return padded, positions >= longest - torch.tensor(lengths, device=padded.device)[:, None]


def extend(agent: LoadedAgent, context: Context, embeds: Tensor, valid: Tensor | None = None) -> Tensor:
    """Feeds input embeddings and extends the context.

    Args:
        agent: The agent.
        context: Changed in place.
        embeds: (B, Q, D), cast to the agent's dtype.
        valid: (B, Q) bool; None when every new position is real.

    Returns:
        (B, Q, D) hidden states after the final norm. Each sample's are those of a run of its own: padding is never
        attended to and takes up no position number.
    """
    batch, new = embeds.shape[:2]
    past = context.length
    if valid is not None or context.valid is not None:
        before = context.valid if context.valid is not None else embeds.new_ones(batch, past, dtype=torch.bool)
        after = valid if valid is not None else embeds.new_ones(batch, new, dtype=torch.bool)
        context.valid = torch.cat([before, after], dim=1)
    options: dict[str, Tensor] = {}
    if context.valid is not None:
        options["position_ids"] = (context.valid.long().cumsum(1) - 1).clamp(min=0)[:, past:]
        options["attention_mask"] = _mask(context.valid, past, agent.dtype)
    hidden: Tensor = agent.model.base_model(
        inputs_embeds=embeds.to(agent.dtype), past_key_values=context.cache, use_cache=True, **options
    ).last_hidden_state
    context.length += new
    return hidden


def _mask(valid: Tensor, past: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, Q, T) additive mask: causal, padding hidden, except that a padded position sees itself (no row of NaN)."""
    total = valid.shape[1]
    keys = torch.arange(total, device=valid.device)
    queries = keys[past:, None]
    allowed = (valid[:, None] & (keys <= queries)) | (keys == queries)
    return torch.zeros(allowed.shape, dtype=dtype, device=valid.device).masked_fill(~allowed, torch.finfo(dtype).min)[
        :, None
    ]


def begin(agent: LoadedAgent, prompts: Sequence[Tensor]) -> tuple[Tensor, Context]:
    """Prefills B prompts (T_b, D) from an empty cache; returns h_1, (B, D), and the context."""
    embeds, valid = left_pad(prompts)
    context = Context(transformers.DynamicCache())
    return extend(agent, context, embeds, valid)[:, -1], context


def think(agent: LoadedAgent, inner: Inner, first: Tensor, context: Context, steps: int) -> Tensor:
    """Latent thoughts H = [h_1 … h_M], h_{m+1} being the hidden state after feeding R_in(h_m).

    Args:
        agent: The agent.
        inner: Its inner link.
        first: (B, D) h_1.
        context: Extended by M - 1 positions.
        steps: M.

    Returns:
        (B, M, D) in the agent's dtype.
    """
    hidden = [first]
    for _ in range(steps - 1):
        hidden.append(extend(agent, context, inner(hidden[-1])[:, None])[:, -1])
    return torch.stack(hidden, dim=1)


def think_recomputing(agent: LoadedAgent, inner: Inner, prompts: Sequence[Tensor], steps: int) -> Tensor:
    """The same thoughts, running the whole sequence again at every step as the published code does.

    Kept as what the cached rollout is tested and measured against.
    """
    embeds, valid = left_pad(prompts)
    hidden: list[Tensor] = []
    for _ in range(steps):
        hidden.append(extend(agent, Context(transformers.DynamicCache()), embeds, valid)[:, -1])
        embeds = torch.cat([embeds, inner(hidden[-1])[:, None].to(embeds.dtype)], dim=1)
        if valid is not None:
            valid = torch.cat([valid, valid.new_ones(len(valid), 1)], dim=1)
    return torch.stack(hidden, dim=1)


def logits(agent: LoadedAgent, hidden: Tensor) -> Tensor:
    """(..., D) hidden states to (..., V) float32 logits, soft-capped where the checkpoint asks for it."""
    scores: Tensor = agent.model.get_output_embeddings()(hidden.to(agent.dtype)).float()
    cap = getattr(agent.model.config, "final_logit_softcapping", None)
    return scores if cap is None else torch.tanh(scores / cap) * cap


@dataclass(frozen=True)
class Sampler:
    """Greedy at temperature 0, else nucleus sampling with its own generator."""

    temperature: float = 0.0
    top_p: float = 1.0
    generator: torch.Generator | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """(B, V) logits to (B,) ids."""
        if self.temperature == 0:
            return scores.argmax(-1)
        probabilities = torch.softmax(scores / self.temperature, -1)
        ordered, indices = probabilities.sort(-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= self.top_p
        picked = torch.multinomial(ordered.masked_fill(outside, 0.0), 1, generator=self.generator)
        return indices.gather(-1, picked)[:, 0]


# What an agent has written so far -> ids that follow in its context without being sampled, such as a tool's result
Interject: TypeAlias = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True)
class Written:
    """What a batch decoded.

    Attributes:
        ids: B lists of ids, the stop token excluded, what was interjected included.
        hidden: (B, D) at each sample's last fed position.
        forward_positions: (B,) positions fed while decoding.
        sampled: (B,) tokens sampled, the stop token excluded.
    """

    ids: list[list[int]]
    hidden: Tensor
    forward_positions: list[int]
    sampled: list[int]


@torch.no_grad()
def write(
    agent: LoadedAgent,
    hidden: Tensor,
    context: Context,
    max_new_tokens: int,
    sampler: Sampler,
    keep_last: bool = False,
    interject: Interject | None = None,
) -> Written:
    """Decodes from the hidden state of the last position until a stop token or `max_new_tokens` sampled tokens.

    Args:
        agent: The agent.
        hidden: (B, D).
        context: Extended by what was decoded; samples that stopped early are padded there.
        max_new_tokens: Most tokens sampled for one answer.
        sampler: How a token is picked.
        keep_last: Whether the last token is fed too, so that more text can follow in the same context.
        interject: Asked after every sampled token.
    """
    batch = len(hidden)
    ids: list[list[int]] = [[] for _ in range(batch)]
    fed, sampled = [0] * batch, [0] * batch
    waiting: list[list[int]] = [[] for _ in range(batch)]
    running = [True] * batch
    while True:
        tokens = sampler(logits(agent, hidden)).tolist()
        for row in range(batch):
            if not running[row]:
                continue
            if waiting[row]:
                tokens[row] = waiting[row].pop(0)
            elif tokens[row] in agent.stop_tokens or sampled[row] == max_new_tokens:
                running[row] = False
                continue
            else:
                sampled[row] += 1
                if interject is not None:
                    waiting[row] = interject([*ids[row], tokens[row]])
            ids[row].append(tokens[row])
            running[row] = keep_last or sampled[row] < max_new_tokens
            if not running[row]:
                ids[row] += waiting[row]  # Nothing is sampled after it, so it is not fed.
        if not any(running):
            return Written(ids, hidden, fed, sampled)
        mask = torch.tensor(running, device=hidden.device)
        fresh = extend(agent, context, agent.embed(tokens)[:, None], None if all(running) else mask[:, None])[:, -1]
        hidden = torch.where(mask[:, None], fresh, hidden)
        for row in range(batch):
            fed[row] += running[row]
