"""Whether prompts and latent thoughts fit the agents' checkpoints, found before anything is computed."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import shorten

from recursivemas.system.errors import InputError
from recursivemas.system.names import Mode
from recursivemas.system.prompt import Text
from recursivemas.system.questions import Asked, values_of
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent


def check_window(
    system: System,
    agents: Mapping[str, LoadedAgent],
    questions: Sequence[Asked],
    rounds: int,
    latent_steps: int,
    mode: Mode = "latent",
) -> None:
    """Refuses a question whose prompt and latent thoughts have more positions than an agent's checkpoint.

    In text mode, hand-offs have no length yet and count as empty. Answers do not count: how long one gets is not known.

    Args:
        system: With its prompts.
        agents: By id.
        questions: In order; an error counts them from 1.
        rounds: R.
        latent_steps: M of agents that have no number of their own.
        mode: How the agents work together, or a baseline.

    Raises:
        InputError: Names the agent, the question, and both numbers.
    """
    for agent, round_index, alone, beside in _turns(system, agents, rounds, latent_steps, mode):
        for number, asked in enumerate(questions, 1):
            texts = [each.text for each in agent.filled(round_index, asked, alone) if isinstance(each, Text)]
            # A token has at least a byte, except where a tokenizer normalises a character into several.
            if 2 * sum(len(text.encode()) for text in texts) + beside <= agent.context_window:
                continue
            tokens = sum(len(agent.token_ids(text)) for text in texts)
            if tokens + beside > agent.context_window:
                shown = shorten(values_of(asked)["question"], 40, placeholder="…")
                raise InputError(
                    f"agent {agent.agent.id!r}: question {number} ({shown!r}) needs {tokens + beside} positions in "
                    f"{'the only turn' if alone else f'round {round_index + 1}'}, {tokens} of them for the prompt's "
                    f"text; its checkpoint has {agent.context_window}: ask a shorter question, or take fewer latent "
                    "steps"
                )


def _turns(
    system: System, agents: Mapping[str, LoadedAgent], rounds: int, latent_steps: int, mode: Mode
) -> Iterator[tuple[LoadedAgent, int, bool, int]]:
    """Agent, round, whether it is alone, and positions beside the prompt's text, of turns that differ in length."""
    steps = {key: agent.agent.latent_steps or latent_steps for key, agent in agents.items()}
    deciding = agents[system.deciding_agent.id]
    prefix = len(deciding.token_ids(system.decoding.answer_prefix))
    if mode in ("single", "loop"):
        yield deciding, 0, True, prefix + (rounds * sum(steps.values()) if mode == "loop" else 0)
        return
    for round_index in sorted({0, min(1, rounds - 1), rounds - 1}):
        for key, agent in agents.items():
            latent = mode == "latent"
            edges = [edge for edge in system.incoming(key) if round_index > 0 or not edge.feedback]
            handed = sum(steps[edge.source] for edge in edges) if latent else 0
            if agent is deciding and round_index == rounds - 1:
                own = prefix + (steps[key] if latent and system.decoding.think_before_answer else 0)
            else:
                own = steps[key] - 1 if latent else 0
            yield agent, round_index, False, handed + own
