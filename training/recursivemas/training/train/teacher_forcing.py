"""Teacher forcing: what is handed over in training are hidden states at reference texts, not a rollout's thoughts.

Source: the paper's published training (docs/training.md). Every agent is made to read a reference text after its
prompt; its hidden states there go through R_in and R_out as thoughts would. Training and use then differ: in use an
agent thinks with R_in and has no reference. Shape letters: B batch, L tokens of the longest reference, D hidden size.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Opening, Unrolled, steps_of
from recursivemas.training.rollout import extend
from recursivemas.training.train.columns import column
from recursivemas.training.train.outer_loop import answer_ids, text_before_answer
from recursivemas.training.train.prefix import PrefixRecursion


class TeacherForcedRecursion(PrefixRecursion):
    """Rounds in which agents read their references instead of thinking; `training.outer.forward: teacher_forced`."""

    def openings(self, asked: Unrolled) -> Iterator[Opening]:
        """As `Recursion.openings`; the deciding agent's own thoughts before its answer are rolled out, if any."""
        records = [question for question in asked.questions if isinstance(question, QuestionRecord)]
        assert len(records) == len(asked.questions), "references and answers are columns of a record"
        self.read_prefixes(asked.questions, asked.rounds)
        settings = self.system.training.outer
        own = steps_of(self.deciding, asked.latent_steps)
        thinks = own if self.system.decoding.think_before_answer else 0
        handed: dict[str, list[Tensor]] = {}
        for round_index, agent, final in self.order(asked.rounds):
            prompts = self.prompts(agent, round_index, asked.questions, handed)
            if final or (asked.every_round and agent is self.deciding):
                yield self.open_answer(agent, prompts, thinks, round_index)
            if not final:
                limit = settings.reference_tokens or steps_of(agent, asked.latent_steps)
                ids = [self._reference(agent, round_index, record)[:limit] for record in records]
                states = self._states(agent, prompts, ids)  # (B, L, D)
                for edge, value in self.hand_off(agent, round_index, states).items():
                    handed[edge] = [row[: len(own)] for row, own in zip(value, ids, strict=True)]

    def _reference(self, agent: LoadedAgent, round_index: int, record: QuestionRecord) -> list[int]:
        """Ids of what an agent is made to read: its column of the record, or the answer."""
        name = self.system.training.outer.references.get(agent.agent.id)
        text = record.answer if name is None else column(record, name)
        if not text:
            raise InputError(
                f"training.outer.references: agent {agent.agent.id!r} reads column {name or 'answer'!r}, which is "
                f"missing or empty for {record.question!r}"
            )
        before = text_before_answer(self, round_index, record) if agent is self.deciding else ""
        return answer_ids(agent, before, text) if before else agent.token_ids(text)

    def _states(self, agent: LoadedAgent, prompts: Sequence[Tensor], ids: Sequence[Sequence[int]]) -> Tensor:
        """(B, L, D) hidden states at the reference texts that follow the prompts."""
        _, context = self.begin(agent, prompts)
        rows = [torch.tensor(own, dtype=torch.long, device=agent.device) for own in ids]
        lengths = torch.tensor([len(own) for own in ids], device=agent.device)[:, None]  # (B, 1)
        padded = pad_sequence(rows, batch_first=True)  # (B, L)
        valid = torch.arange(padded.shape[1], device=agent.device)[None] < lengths
        return extend(agent, context, agent.embed(padded), None if bool(valid.all()) else valid)
