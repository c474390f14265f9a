"""A run as data: who thought what, and what was handed over; for `rmas run` and for parity checks of the browser."""

from typing import Any

import torch

from recursivemas.training.recursion import Answers, Recursion, round_number
from recursivemas.training.rollout import logits


def lens(recursion: Recursion, agent: str, thoughts: torch.Tensor) -> list[str]:
    """The token that each latent thought (M, D) would be decoded to: the logit lens."""
    loaded = recursion.agents[agent]
    return [loaded.decode([token]) for token in logits(loaded, thoughts).argmax(-1).tolist()]


def turn_rows(recursion: Recursion, answers: Answers) -> list[tuple[str, ...]]:
    """Rows of a table for one question: round, agent, prompt tokens, thoughts, hand-offs, milliseconds."""
    rows: list[tuple[str, ...]] = []
    for turn in answers.turns:
        seen = "" if turn.thoughts is None else " ".join(lens(recursion, turn.agent, turn.thoughts[0]))
        said = turn.texts[0] if turn.texts else f"({seen})" if seen else ""
        handed = ", ".join(f"{edge} {tuple(value.shape[1:])}" for edge, value in turn.hand_offs.items())
        prompt = str(turn.prompt_tokens[0])
        rows.append((str(round_number(turn.round)), turn.agent, prompt, said, handed, f"{turn.duration_ms:.1f}"))
    return rows


def trace_record(recursion: Recursion, question: str, answers: Answers) -> dict[str, Any]:
    """The first question's run as JSON, rounds counted from 1.

    Thoughts (M, D) and hand-offs (M, D_target) are nested lists of float32.
    """
    turns = [
        {
            "agent": turn.agent,
            "round": round_number(turn.round),
            "prompt_tokens": turn.prompt_tokens[0],
            "thoughts": None if turn.thoughts is None else turn.thoughts[0].float().tolist(),
            "lens": None if turn.thoughts is None else lens(recursion, turn.agent, turn.thoughts[0]),
            "hand_offs": {edge: value[0].tolist() for edge, value in turn.hand_offs.items()},
            "text": turn.texts[0] if turn.texts else None,
            "duration_ms": turn.duration_ms,
        }
        for turn in answers.turns
    ]
    return {
        "system": recursion.system.name,
        "question": question,
        "answer": answers.texts[0],
        "token_ids": answers.token_ids[0],
        "decoded_tokens": answers.decoded_tokens[0],
        "forward_positions": answers.forward_positions[0],
        "duration_ms": answers.duration_ms,
        "turns": turns,
    }
