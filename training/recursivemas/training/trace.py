"""A run as data: who thought what, what was handed over; for `rmas run` and for parity checks of the browser."""

from typing import Any, Literal, TypeAlias

import torch

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import LinkFile
from recursivemas.system.system import System
from recursivemas.training.agents import load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Answers, Recursion
from recursivemas.training.rollout import logits
from recursivemas.training.train.trainer import agents_dtype

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]


def chosen_device(device: Device) -> torch.device:
    """`auto` takes CUDA where it is there.

    Raises:
        InputError: When CUDA is asked for and not there.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError("--device cuda: PyTorch sees no CUDA device here; take --device cpu, or leave it out")
    return torch.device("cuda" if there and device != "cpu" else "cpu")


def load_recursion(
    system: System, links: LinkFile | None, device: Device = "cpu", precision: Precision = "float32"
) -> Recursion:
    """A system ready to run; links compute in float32 whatever the agents compute in.

    Args:
        system: Whose agents are loaded.
        links: Its links; text and single mode need none.
        device: Of agents and links.
        precision: Of the agents; `auto` takes bfloat16 on CUDA hosts that have it, float32 elsewhere.

    Raises:
        InputError: When the links do not fit the agents, or the device is not there.
    """
    place = chosen_device(device)
    agents = load_agents(system, place, agents_dtype(precision, place))
    if links is None:
        return Recursion(system, agents, None)
    links.check_fits(
        {key: agent.hidden_size for key, agent in agents.items()},
        {edge.id: (edge.source, edge.target) for edge in system.edges},
    )
    return Recursion(system, agents, Links.from_file(links).to(place).requires_grad_(False))


def lens(recursion: Recursion, agent: str, thoughts: torch.Tensor) -> list[str]:
    """What each latent thought (M, D) would be if it had to be a token: the logit lens."""
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
        rows.append((str(turn.round), turn.agent, prompt, said, handed, f"{turn.duration_ms:.1f}"))
    return rows


def trace_record(recursion: Recursion, question: str, answers: Answers) -> dict[str, Any]:
    """The first question's run as JSON: thoughts (M, D) and hand-offs (M, D_target) as nested lists of float32."""
    turns = [
        {
            "agent": turn.agent,
            "round": turn.round,
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
