"""One agent's turn: prefill, latent steps through the inner link, decoding. Batched, cached, differentiable.

Source: arXiv 2604.25917, latent rollout; docs/recursion.md, rules 3 and 5. The published code runs the whole sequence
again for every latent step; here each step extends the KV cache, and gradients flow back through the cache. Shape
letters: B batch, T positions so far, Q new positions, M latent steps, D hidden size, V vocabulary.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.errors import InputError
from recursivemas.system.manifest import Sampling
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.caches import LINEAR, fork_layer, keep_states, lay_out, layer_kinds, layer_rows, masks

NOT_FINITE = -1
"""What a sampler gives in place of an id when the logits hold NaN or infinity."""

Inner: TypeAlias = Callable[[Tensor], Tensor]


@dataclass
class Context:
    """What an agent has read so far: its KV cache, and which positions are real.

    Attributes:
        cache: transformers' cache, with layers of `caches`, through which gradients flow.
        valid: (B, T) bool; False for padding. None if there is no padding.
        length: T, padding included.
        closed: Whether a recurrent model has read padding after real positions, so that nothing may follow.
        expected: How long it will be, as far as anybody knows; keys and values get memory for so many positions.
    """

    cache: Any
    valid: Tensor | None = None
    length: int = 0
    closed: bool = False
    expected: int = 0

    def fork(self, more: int = 0) -> "Context":
        """A context that goes on from here and leaves this one as it is; keys and values are not copied yet.

        Args:
            more: How many positions will follow, as far as anybody knows.
        """
        cache = copy.copy(self.cache)
        cache.layers = [fork_layer(layer) for layer in cache.layers]
        return Context(cache, self.valid, self.length, self.closed, self.length + more)

    def rows(self, indices: Sequence[int]) -> "Context":
        """A context of these samples, in this order and as often as they are named; without gradient."""
        chosen = torch.tensor(indices)
        cache = copy.copy(self.cache)
        cache.layers = [layer_rows(layer, chosen) for layer in cache.layers]
        valid = None if self.valid is None else self.valid[chosen.to(self.valid.device)]
        return Context(cache, valid, self.length, self.closed, self.expected)


def left_pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Joins prompts of different lengths.

    Args:
        rows: B tensors (T_b, D).

    Returns:
        (B, T, D) with zeros on the left, and (B, T) bool of real positions; None if all are real.
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    if min(lengths) == longest:
        return torch.stack(list(rows)), None
    padded = pad_sequence([row.flip(0) for row in rows], batch_first=True).flip(1)  # (B, T, D)
    positions = torch.arange(longest, device=padded.device)[None]  # (1, T)
    padding = longest - torch.tensor(lengths, device=padded.device)[:, None]  # (B, 1)
    return padded, positions >= padding


def extend(agent: LoadedAgent, context: Context, embeds: Tensor, valid: Tensor | None = None) -> Tensor:
    """Feeds input embeddings and extends the context.

    Args:
        agent: The agent.
        context: T positions; changed in place to T + Q.
        embeds: (B, Q, D), cast to the agent's dtype.
        valid: (B, Q) bool; None if every new position is real.

    Returns:
        (B, Q, D) hidden states after the final norm. Each sample's are those of a run of its own: padding is never
        attended to and takes up no position number.
    """
    batch, new = embeds.shape[:2]
    past = context.length
    kinds = layer_kinds(agent.model.config)
    recurrent = LINEAR in kinds
    runs = _runs(valid) if recurrent and valid is not None else [(0, new)]
    if len(runs) > 1 and valid is not None and not _falls(valid) and not (past == 0 and _falls(valid.flip(1))):
        # Padding before or between real positions would change the states, unless it is fed alone and taken back.
        return torch.cat([extend(agent, context, embeds[:, a:b], valid[:, a:b]) for a, b in runs], dim=1)
    assert not context.closed, "the states of a recurrent model went on over padding"
    if valid is not None or context.valid is not None:
        before = context.valid if context.valid is not None else embeds.new_ones(batch, past, dtype=torch.bool)
        after = valid if valid is not None else embeds.new_ones(batch, new, dtype=torch.bool)
        context.valid = torch.cat([before, after], dim=1)  # (B, T + Q)
    options: dict[str, Any] = {}
    if context.valid is not None:
        # A real position's number is the count of real positions before it; padding gets any number, as nobody sees it.
        numbers = (context.valid.long().cumsum(1) - 1).clamp(min=0)  # (B, T + Q)
        options = {
            "position_ids": numbers[:, past:],  # (B, Q)
            "attention_mask": masks(agent.model.config, kinds, context.valid, past, agent.dtype),
        }
    lay_out(context.cache, kinds, context.expected)
    takes_back = recurrent and valid is not None and past > 0 and len(runs) == 1
    restore = keep_states(context.cache, valid[:, 0]) if takes_back and valid is not None else None
    hidden: Tensor = agent.model.base_model(
        inputs_embeds=embeds.to(agent.dtype), past_key_values=context.cache, use_cache=True, **options
    ).last_hidden_state
    if restore is not None:
        restore()
    elif recurrent and valid is not None:
        # To a sample that has read nothing yet, padding is no change.
        context.closed = bool((~valid[:, -1] & (valid.any(1) | (past > 0))).any())
    context.length += new
    return hidden


def _runs(valid: Tensor) -> list[tuple[int, int]]:
    """Start and end of each run of positions that are padding to the same samples; `valid` is (B, Q)."""
    edges = (valid[:, 1:] != valid[:, :-1]).any(0).nonzero()[:, 0] + 1
    bounds = [0, *edges.tolist(), valid.shape[1]]
    return list(itertools.pairwise(bounds))


def _falls(valid: Tensor) -> bool:
    """Whether all padding of (B, Q) comes after the real positions."""
    return not bool((valid[:, 1:] & ~valid[:, :-1]).any())


def begin(agent: LoadedAgent, prompts: Sequence[Tensor], more: int = 0) -> tuple[Tensor, Context]:
    """Prefills B prompts (T_b, D) from an empty cache; returns h_1, (B, D), and the context.

    Args:
        agent: The agent.
        prompts: B tensors (T_b, D).
        more: How many positions will follow, as far as anybody knows.
    """
    embeds, valid = left_pad(prompts)  # (B, T, D)
    context = Context(transformers.DynamicCache(), expected=embeds.shape[1] + more)
    return extend(agent, context, embeds, valid)[:, -1], context


def think(agent: LoadedAgent, inner: Inner, first: Tensor, context: Context, steps: int) -> Tensor:
    """Latent thoughts H = [h_1 … h_M], where h_{m+1} is the hidden state after feeding R_in(h_m).

    Args:
        agent: The agent.
        inner: Its inner link.
        first: (B, D) h_1.
        context: Extended by M - 1 positions.
        steps: M.

    Returns:
        (B, M, D) in the agent's dtype.
    """
    hidden = [first]  # M tensors (B, D)
    for _ in range(steps - 1):
        hidden.append(extend(agent, context, inner(hidden[-1])[:, None])[:, -1])
    return torch.stack(hidden, dim=1)


def logits(agent: LoadedAgent, hidden: Tensor) -> Tensor:
    """(..., D) hidden states to (..., V) float32 logits, soft-capped if the checkpoint says so."""
    scores: Tensor = agent.model.get_output_embeddings()(hidden.to(agent.dtype)).float()
    cap = getattr(agent.model.config, "final_logit_softcapping", None)
    return scores if cap is None else torch.tanh(scores / cap) * cap


@dataclass(frozen=True)
class Sampler:
    """Greedy at temperature 0, else nucleus sampling with its own generator.

    Source: docs/recursion.md, rule 5. The settings work in the order of transformers' `generate`: repetition penalty,
    temperature, top k, top p. One that is None is taken from the checkpoint.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_p: Total probability of the likeliest tokens that are sampled from.
        generator: Of the random numbers.
        top_k: How many of the likeliest tokens are sampled from; 0 for all.
        repetition_penalty: Divides positive logits of tokens that were written before, and multiplies negative ones.
    """

    temperature: float | None = 0.0
    top_p: float | None = 1.0
    generator: torch.Generator | None = None
    top_k: int | None = 0
    repetition_penalty: float | None = 1.0

    def of(self, checkpoint: Sampling) -> "Sampler":
        """The sampler for an agent, with nothing left to its checkpoint."""
        names = ("temperature", "top_p", "top_k", "repetition_penalty")
        return replace(self, **{name: getattr(checkpoint, name) for name in names if getattr(self, name) is None})

    def __call__(self, scores: Tensor, seen: Sequence[Sequence[int]] = ()) -> Tensor:
        """(B, V) logits to (B,) ids; `NOT_FINITE` where a row of logits holds NaN or infinity.

        Args:
            scores: (B, V) float32.
            seen: B lists of ids that the repetition penalty counts.
        """
        finite = scores.isfinite().all(-1)  # (B,)
        scores = scores.masked_fill(~finite[:, None], 0.0)
        return self._pick(self._penalised(scores, seen)).masked_fill(~finite, NOT_FINITE)

    def _penalised(self, scores: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        penalty = self.repetition_penalty
        assert penalty is not None, "`of` comes first"
        if penalty == 1:
            return scores
        met = torch.zeros_like(scores, dtype=torch.bool)
        for row, ids in enumerate(seen):
            met[row, torch.tensor(ids, dtype=torch.long, device=scores.device)] = True
        changed = torch.where(scores < 0, scores * penalty, scores / penalty)
        return torch.where(met, changed, scores)

    def _pick(self, scores: Tensor) -> Tensor:
        """(B, V) finite logits to (B,) ids."""
        assert self.temperature is not None and self.top_k is not None and self.top_p is not None, "`of` comes first"
        if self.temperature == 0:
            return scores.argmax(-1)
        scores = scores / self.temperature
        if 0 < self.top_k < scores.shape[-1]:
            least = scores.topk(self.top_k, -1).values[:, -1:]  # (B, 1)
            scores = scores.masked_fill(scores < least, -torch.inf)
        probabilities = torch.softmax(scores, -1)  # (B, V)
        ordered, indices = probabilities.sort(-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= self.top_p  # likelier tokens alone reach top_p
        picked = torch.multinomial(ordered.masked_fill(outside, 0.0), 1, generator=self.generator)  # (B, 1)
        return indices.gather(-1, picked)[:, 0]


def not_finite(agent: LoadedAgent, what: str) -> InputError:
    """The error for values of an agent that hold NaN or infinity."""
    half = agent.dtype == torch.float16
    overflow = "float16 may have overflowed, so compute in float32; if that fails too, " if half else ""
    return InputError(
        f"agent {agent.agent.id!r}: {what} not finite (NaN or infinity); "
        f"{overflow}its weights or links are broken: check the checkpoint"
    )


@dataclass(frozen=True)
class Interjection:
    """Ids that follow in an agent's context without being sampled, such as a tool's result.

    Attributes:
        ids: At least one.
        last: Whether they end what the agent writes; nothing reads them then.
    """

    ids: list[int]
    last: bool = False


# What an agent has written so far, and how often something was interjected -> what follows
Interject: TypeAlias = Callable[[Sequence[int], int], Interjection | None]
# What an agent has written so far -> whether it is complete
Ends: TypeAlias = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Written:
    """What a batch decoded.

    Attributes:
        ids: B lists of ids, without the stop token, with what was interjected.
        hidden: (B, D) at each sample's last fed position.
        forward_positions: (B,) positions fed while decoding.
        sampled: (B,) tokens sampled, the stop token excluded.
        states: B tensors (tokens, D), the hidden state from which each token was sampled; empty unless asked for.
    """

    ids: list[list[int]]
    hidden: Tensor
    forward_positions: list[int]
    sampled: list[int]
    states: list[Tensor] = field(default_factory=list)


@dataclass
class _Sample:
    """One sample while its batch decodes.

    Attributes:
        ids: What it has written.
        waiting: Interjected ids that are fed before the next one is sampled.
        calls: How often something was interjected.
        sampled: Tokens sampled, the stop token excluded.
        fed: Positions fed.
        running: Whether the last id of `ids` is still to be fed.
    """

    ids: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    calls: int = 0
    sampled: int = 0
    fed: int = 0
    running: bool = True

    def take(
        self, token: int, stops: bool, budget: int, keep_last: bool, interject: Interject | None, ends: Ends | None
    ) -> None:
        """Appends an id that waits, or else a sampled token, unless that stops the sample or the budget is spent."""
        if self.waiting:
            self.ids.append(self.waiting.pop(0))
        elif stops or self.sampled == budget:
            self.running = False
            return
        else:
            self.sampled += 1
            self.ids.append(token)
            if ends is not None and ends(self.ids):
                self.running = False
                return
            if interject is not None and (said := interject(self.ids, self.calls)) is not None:
                self.waiting = list(said.ids)
                self.calls += 1
                if said.last:
                    budget = self.sampled
        self.running = keep_last or self.sampled < budget
        if not self.running:
            self.ids += self.waiting  # no token is sampled after these, so they are not fed


@torch.no_grad()
def write(
    agent: LoadedAgent,
    hidden: Tensor,
    context: Context,
    max_new_tokens: int,
    sampler: Sampler,
    keep_last: bool = False,
    interject: Interject | None = None,
    ends: Ends | None = None,
    keep_states: bool = False,
    before: Sequence[Sequence[int]] | None = None,
) -> Written:
    """Decodes from the hidden state of the last position until a stop token or `max_new_tokens` sampled tokens.

    Args:
        agent: The agent.
        hidden: (B, D).
        context: Extended by what was decoded; samples that stopped early are padded there.
        max_new_tokens: Most tokens sampled for one answer.
        sampler: How a token is picked.
        keep_last: Whether the last token is fed too, so that more text can follow in the same context.
        interject: Called after every sampled token.
        ends: Called before it; if it says so, that token is the last one.
        keep_states: Whether the states are kept, from which the tokens were sampled; not together with `interject`.
        before: B lists of ids that the repetition penalty counts beside what is written; none by default.

    Raises:
        InputError: When the logits are not finite.
    """
    samples = [_Sample() for _ in range(len(hidden))]
    pick = sampler.of(agent.sampling)
    trail: list[Tensor] = []  # of (B, D)
    while True:
        if keep_states:
            trail.append(hidden)
        written = [sample.ids for sample in samples]
        seen = [[*first, *ids] for first, ids in zip(before, written, strict=True)] if before else written
        for sample, token in zip(samples, pick(logits(agent, hidden), seen).tolist(), strict=True):
            if sample.running:
                if token == NOT_FINITE:
                    raise not_finite(agent, "its logits are")
                sample.take(token, token in agent.stop_tokens, max_new_tokens, keep_last, interject, ends)
        running = [sample.running for sample in samples]
        if not any(running):
            states = [torch.stack(trail)[: len(s.ids), index] for index, s in enumerate(samples)] if trail else []
            fed, sampled = [s.fed for s in samples], [s.sampled for s in samples]
            return Written([s.ids for s in samples], hidden, fed, sampled, states)
        mask = torch.tensor(running, device=hidden.device)[:, None]  # (B, 1)
        # A sample that has ended is fed a padding position of any token.
        last = agent.embed([sample.ids[-1] if sample.running else 0 for sample in samples])  # (B, D)
        fresh = extend(agent, context, last[:, None], None if all(running) else mask)[:, -1]  # (B, D)
        hidden = torch.where(mask, fresh, hidden)
        for sample in samples:
            sample.fed += sample.running
