"""Tells whether links were trained with the very weights that a system's agents have."""

from pathlib import Path

import torch

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import LinkFile
from recursivemas.system.settings import Training
from recursivemas.system.system import System
from recursivemas.training.agents import checksums, load_agents
from recursivemas.training.loading import agents_dtype, load_weights


def check_trained_with(system: System, links: LinkFile, source: Path, reason: str | None = None) -> None:
    """Checks that a system's agents have the weights that its links were trained with.

    Args:
        system: The system.
        links: Links that `rmas train` wrote.
        source: Their file, for the message.
        reason: Why the weights are others, if they are.

    Raises:
        InputError: An agent has other weights and there is no reason, or the other way round; or an agent cannot be
            loaded.
    """
    changed = changed_agents(system, links, source)
    if changed and reason is None:
        raise InputError(
            f"{source}: its provenance has other weights of {', '.join(changed)} than the system's checkpoint; give "
            "the system that the links were trained with, or --agents-changed REASON if the agents compute the same"
        )
    if reason is not None and not changed:
        raise InputError(f"{source}: was trained with the weights that the agents have; leave out --agents-changed")


def changed_agents(system: System, links: LinkFile, source: Path) -> list[str]:
    """Loads a system's agents as they were loaded in training, and compares their weights with the links' provenance.

    Args:
        system: The system.
        links: Links that `rmas train` wrote.
        source: Their file, for the message.

    Returns:
        The ids of the agents whose weights are others.

    Raises:
        InputError: The provenance is damaged, or an agent cannot be loaded.
    """
    training = Training.parse(links.provenance.get("training", {}), f"{source}: provenance.training")
    try:
        device = torch.device(str(links.provenance.get("device", "cpu")))
    except RuntimeError:
        raise InputError(f"{source}: provenance.device names no device of PyTorch; train again") from None
    if training.weights == "checkpoint":
        agents = load_agents(system, "cpu", agents_dtype(training.precision, device))
    else:
        agents = load_weights(system, torch.device("cpu"), training.precision, training.weights)
    trained = links.provenance.get("agents_sha256", {})
    return [agent for agent, found in checksums(agents).items() if trained.get(agent) != found]
