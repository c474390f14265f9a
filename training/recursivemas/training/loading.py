"""A system ready to run: agents and links on a device, in a precision."""

import torch

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import LinkFile
from recursivemas.system.names import Device, Precision, Weights
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from recursivemas.training.shipped_weights import ship_weights
from recursivemas.training.tools import ToolAccess


def chosen_device(device: Device) -> torch.device:
    """The device of a setting; `auto` is CUDA if available.

    Raises:
        InputError: When CUDA is asked for and not available.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("--device cuda: PyTorch sees no CUDA device here; use --device cpu, or leave it out")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def agents_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of a setting; `auto` is bfloat16 on a CUDA device that supports it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def load_weights(system: System, place: torch.device, precision: Precision, weights: Weights) -> dict[str, LoadedAgent]:
    """A system's agents with the weights of their checkpoints, or with those that a build stores.

    Raises:
        InputError: When an agent cannot be loaded, or the precision cannot hold what a build stores.
    """
    if weights == "checkpoint":
        return load_agents(system, place, agents_dtype(precision, place))
    if precision == "bfloat16":
        raise InputError(
            "precision bfloat16 cannot hold weights 'dequantised'; use precision float32 or auto, or weights checkpoint"
        )
    agents = load_agents(system, place, torch.float32)
    for model in {id(agent.model): agent.model for agent in agents.values()}.values():
        ship_weights(model, system.quantization)
    return agents


def load_recursion(
    system: System,
    links: LinkFile | None,
    device: Device = "cpu",
    precision: Precision = "float32",
    weights: Weights | None = None,
    access: ToolAccess | None = None,
) -> Recursion:
    """Loads a system's agents and puts its links beside them; links compute in float32 in any precision.

    Args:
        system: The declaration.
        links: Its links; text and single mode need none.
        device: Of agents and links.
        precision: Of the agents.
        weights: Those of the checkpoints, or `dequantised`, those that a build stores. By default those that the
            system's links train with, `training.weights`: links hand over vectors of these very weights.
        access: Tools that the deciding agent may use beside those that only compute.

    Raises:
        InputError: When the links do not fit the agents, or the device or a tool is not available.
    """
    if access is not None:
        access.check(system.deciding_agent)  # before weights are loaded
    place = chosen_device(device)
    agents = load_weights(system, place, precision, system.reference_weights(weights))
    if links is None:
        return Recursion(system, agents, None, access=access)
    links.check_fits(
        {key: agent.hidden_size for key, agent in agents.items()},
        {edge.id: (edge.source, edge.target) for edge in system.edges},
    )
    loaded = Links.from_file(links).to(place).requires_grad_(False)
    return Recursion(system, agents, loaded, access=access)
