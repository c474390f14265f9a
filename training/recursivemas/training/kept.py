"""What agents keep between the rounds of a run: the keys and values of what their prompts begin with.

Source: docs/recursion.md, rule 3. Shape letters: B batch, T positions, D hidden size.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recursivemas.system.prompt import Text
from recursivemas.system.questions import Asked
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import Context, begin, extend, left_pad


def common_beginning(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest run of ids that all begin with."""
    common: list[int] = []
    for ids in zip(*rows, strict=False):
        if len(set(ids)) > 1:
            break
        common.append(ids[0])
    return common


def prefix_length(agent: LoadedAgent, question: Asked) -> int:
    """How many tokens an agent's first and its later prompt for a question have in common before their first slot.

    A prompt without slots counts without its last token, which every turn computes.
    """
    openings = []
    for round_index in (0, 1):
        first, *later = agent.filled(round_index, question)
        ids = agent.token_ids(first.text) if isinstance(first, Text) else []
        openings.append(ids if later else ids[:-1] if round_index else ids)
    return len(common_beginning(openings))


@dataclass(frozen=True)
class _Read:
    """What an agent has read of its prompts.

    Attributes:
        hidden: (B, D) at the last position of each prefix.
        context: The prefixes alone.
    """

    hidden: Tensor
    context: Context


class KeptPrefixes:
    """The prefixes of one batch in one run; every agent reads its own once, in its first turn.

    Args:
        agents: By id.
        questions: B questions.
        rounds: R; a single round keeps nothing.
    """

    def __init__(self, agents: Mapping[str, LoadedAgent], questions: Sequence[Asked], rounds: int) -> None:
        self._lengths = {
            key: [prefix_length(agent, question) for question in questions]
            for key, agent in (agents.items() if rounds > 1 else ())
        }
        self._read: dict[str, _Read] = {}

    def counts(self, agent: LoadedAgent, round_index: int, prompt_tokens: Sequence[int]) -> list[int]:
        """(B,) positions of a turn's prompts that are not computed again."""
        lengths = self._lengths.get(agent.agent.id)
        if lengths is None or round_index == 0:
            return [0] * len(prompt_tokens)
        return [min(length, tokens - 1) for length, tokens in zip(lengths, prompt_tokens, strict=True)]

    def rows(self, indices: Sequence[int]) -> "KeptPrefixes":
        """What belongs to some of the questions, by their rows."""
        chosen = copy.copy(self)
        chosen._lengths = {key: [lengths[index] for index in indices] for key, lengths in self._lengths.items()}
        chosen._read = {
            key: _Read(read.hidden[list(indices)], read.context.rows(indices)) for key, read in self._read.items()
        }
        return chosen

    def begin(self, agent: LoadedAgent, prompts: Sequence[Tensor], more: int = 0) -> tuple[Tensor, Context]:
        """Reads filled prompts as `rollout.begin`, but the prefix in the agent's first turn alone."""
        lengths = self._lengths.get(agent.agent.id)
        if lengths is None or not any(lengths):
            return begin(agent, prompts, more)
        if agent.agent.id not in self._read:
            own = [prompt[:length] for prompt, length in zip(prompts, lengths, strict=True)]
            self._read[agent.agent.id] = _Read(*begin(agent, own))
        read = self._read[agent.agent.id]
        rest = [prompt[length:] for prompt, length in zip(prompts, lengths, strict=True)]
        longest = max(len(row) for row in rest)
        context = read.context.fork(longest + more)
        if longest == 0:
            return read.hidden, context
        embeds, valid = left_pad(rest)
        hidden = extend(agent, context, embeds, valid)[:, -1]
        # A prompt that ends with its prefix, because an empty text fills its last slot, has been read already.
        reads = torch.tensor([len(row) > 0 for row in rest], device=hidden.device)[:, None]  # (B, 1)
        return torch.where(reads, hidden, read.hidden), context
