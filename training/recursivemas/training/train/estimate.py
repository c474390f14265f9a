"""`rmas train --dry-run`: memory and time of a step of the outer loop, from the agents' configurations alone.

Models are made on PyTorch's meta device, which knows shapes and has no numbers. One turn of each agent then runs there
with 2 and with 3 latent steps, and what autograd keeps is counted; it grows by the same amount with every step. Time is
a bound from below: the arithmetic at the GPU's peak, or reading the weights once a pass, whichever is longer. Shape
letters: B batch, T positions, M latent steps, D hidden size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from recursivemas.system.errors import InputError
from recursivemas.system.hub import checkpoint_of, resolve_files
from recursivemas.system.prompt import Condition, Latent, Segment, Text, parse_template
from recursivemas.system.system import Agent, System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink, Links
from recursivemas.training.rollout import begin, extend, think

DTYPE = torch.bfloat16
GIB = 2**30
USABLE = 0.9
"""Share of a GPU's memory; the rest is for kernels' workspaces and fragments."""
CHARACTERS_PER_TOKEN = 4
OPTIMISED_BYTES = 16
"""Of a trained number: itself, its gradient and the two moments of AdamW, in float32."""
COUNTING = "rmas_counting"


@dataclass(frozen=True)
class Gpu:
    """What a GPU can do, as its maker says.

    Attributes:
        name: As people call it.
        memory_gib: Of memory.
        bandwidth_gb: Of memory traffic, GB/s.
        tflops: Of bfloat16 products with float32 sums, without sparsity.
    """

    name: str
    memory_gib: float
    bandwidth_gb: float
    tflops: float


GPUS = (
    Gpu("T4", 16, 300, 65),
    Gpu("L4", 24, 300, 121),
    Gpu("RTX-3090", 24, 936, 71),
    Gpu("RTX-4090", 24, 1008, 165),
    Gpu("L40S", 48, 864, 362),
    Gpu("A100-40GB", 40, 1555, 312),
    Gpu("A100-80GB", 80, 2039, 312),
    Gpu("H100", 80, 3350, 989),
    Gpu("H200", 141, 4800, 989),
    Gpu("B200", 180, 8000, 2250),
)


def find_gpu(name: str) -> Gpu:
    """A GPU of the list, whatever the case of its name.

    Raises:
        InputError: There is none of this name.
    """
    for gpu in GPUS:
        if gpu.name.lower() == name.lower():
            return gpu
    raise InputError(f"--gpu {name!r}: expected one of {', '.join(each.name for each in GPUS)}")


class _Attention(torch.autograd.Function):
    """Attention as kernels without a matrix of scores do it: they keep queries, keys, values and the result."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, H, Q, D), (B, K, T, D) and (B, K, T, D) to (B, Q, H, D), without numbers."""
        result = query.new_empty(*query.shape[:3], value.shape[3])
        ctx.save_for_backward(query, key, value, result)
        return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Is never called."""
        raise NotImplementedError


def _attend(_module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Any, **_: Any) -> tuple[Tensor, None]:
    return _Attention.apply(query, key, value), None  # type: ignore[no-untyped-call]


def meta_agent(agent: Agent, config: Any) -> LoadedAgent:
    """An agent without numbers, from its model's configuration."""
    AttentionInterface.register(COUNTING, _attend)
    AttentionMaskInterface.register(COUNTING, sdpa_mask)
    config._attn_implementation = COUNTING
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=DTYPE)
    return LoadedAgent(agent, model.eval().requires_grad_(False), None, Path())


def read_config(agent: Agent) -> Any:
    """The configuration of an agent's model; of a hub's repository it downloads nothing else.

    Raises:
        InputError: It is not available.
    """
    reference = checkpoint_of(agent)
    remote = not reference.is_local and "/" in agent.model and not agent.model.endswith(".gguf")
    folder = resolve_files(agent.model, Path(), ["config.json"]) if remote else reference.resolve().folder
    try:
        return transformers.AutoConfig.from_pretrained(folder).get_text_config(decoder=True)
    except (OSError, ValueError) as error:
        raise InputError(f"agent {agent.id!r}: {folder} has no readable configuration: {error}") from None


@dataclass(frozen=True)
class Lengths:
    """Positions of an agent's prompt in a later round, and what follows.

    Attributes:
        prefix: Before the first slot; read once for all rounds, without gradient.
        rest: From there on, with the rows of hand-offs.
        steps: M.
    """

    prefix: int
    rest: int
    steps: int


def lengths_of(system: System, agent: Agent, question_tokens: int) -> Lengths:
    """Lengths of an agent's turn, if text has a token for four characters."""
    steps = {each.id: each.latent_steps or system.default_latent_steps for each in system.agents}
    edges = {edge.id: edge.source for edge in system.edges}
    prefix, rest, met = 0, 0, False
    for part in _flat(parse_template(agent.prompt)):
        met = met or isinstance(part, Latent)
        if isinstance(part, Latent):
            tokens = steps[edges[part.edge]]
        elif isinstance(part, Text):
            tokens = -(-len(part.text) // CHARACTERS_PER_TOKEN)
        else:
            tokens = question_tokens
        prefix, rest = (prefix, rest + tokens) if met else (prefix + tokens, rest)
    return Lengths(prefix, max(1, rest), steps[agent.id])


def _flat(parts: Sequence[Segment]) -> Iterator[Segment]:
    """A prompt's parts, where every text that depends on a column is there."""
    for part in parts:
        if isinstance(part, Condition):
            yield from _flat(part.then)
        else:
            yield part


def kept_bytes(agent: LoadedAgent, lengths: Lengths) -> int:
    """What autograd keeps of one sample's turn beside weights."""
    few, more = (_kept_bytes(agent, lengths, steps) for steps in (2, 3))
    return few + (lengths.steps - 2) * (more - few)


def _kept_bytes(agent: LoadedAgent, lengths: Lengths, steps: int) -> int:
    size = agent.hidden_size
    kept: dict[int, tuple[Any, int]] = {}  # storages stay alive, so that their addresses stay theirs

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    with torch.device("meta"):
        link = InnerLink(size, size)
        with torch.no_grad():
            _, read = begin(agent, [torch.empty(max(1, lengths.prefix), size, dtype=agent.dtype)])
        rest = torch.empty(1, lengths.rest, size, dtype=agent.dtype, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            context = read.fork(lengths.rest + steps)
            first = extend(agent, context, rest)[:, -1]
            think(agent, link, first, context, steps)
    models = (*agent.model.parameters(), *agent.model.buffers(), *link.parameters())
    own = {each.untyped_storage()._cdata for each in models}
    return sum(size for address, (_, size) in kept.items() if address not in own)


@dataclass(frozen=True)
class Estimate:
    """What a step of the outer loop needs, by the number of questions in a micro-batch.

    Attributes:
        weights_bytes: Of the agents; a checkpoint that several share counts once.
        links_bytes: Of the links with what optimising them needs.
        turn_bytes: By agent id, what autograd keeps of one question's turn.
        answer_bytes: What it keeps of one question's answer: logits in float32 and their gradient, mostly.
        prefix_bytes: Keys and values of all agents' prefixes, for one question.
        deciding: Id of the deciding agent.
        rounds: R.
        passes: Bytes of weights that are read in a step without checkpointing.
        flops: Of one question's step without checkpointing.
        again_bytes: Bytes of weights that checkpointing reads once more.
        again_flops: Arithmetic of one question that checkpointing does once more.
    """

    weights_bytes: int
    links_bytes: int
    turn_bytes: dict[str, int]
    answer_bytes: int
    prefix_bytes: int
    deciding: str
    rounds: int
    passes: int
    flops: float
    again_bytes: int
    again_flops: float

    def memory(self, batch: int, checkpointing: bool) -> int:
        """Peak bytes of a step."""
        turns = self.turn_bytes.values()
        # The turn that opens an answer is not recomputed; at most one other is there at a time.
        kept = self.turn_bytes[self.deciding] + max(turns) if checkpointing else self.rounds * sum(turns)
        return self.weights_bytes + self.links_bytes + batch * (kept + self.answer_bytes + self.prefix_bytes)

    def seconds(self, gpu: Gpu, batch: int, checkpointing: bool) -> float:
        """The least time of a micro-batch."""
        flops = batch * (self.flops + (self.again_flops if checkpointing else 0))
        traffic = self.passes + (self.again_bytes if checkpointing else 0)
        return max(flops / (gpu.tflops * 1e12), traffic / (gpu.bandwidth_gb * 1e9))

    def largest_batch(self, gpu: Gpu, checkpointing: bool, most: int) -> int:
        """The most questions that fit a GPU at once, at most `most`; 0 if not even one does."""
        fixed, one = self.memory(0, checkpointing), self.memory(1, checkpointing) - self.memory(0, checkpointing)
        return max(0, min(most, int((gpu.memory_gib * GIB * USABLE - fixed) // one)))


def estimate(
    system: System, configs: Mapping[str, Any], question_tokens: int = 300, answer_tokens: int = 32
) -> Estimate:
    """What a step of a system's outer loop needs.

    Args:
        system: The declaration.
        configs: By agent id, the text model's configuration of transformers.
        question_tokens: Of a question, and of each other column that a prompt shows.
        answer_tokens: Of an answer.
    """
    agents = {agent.id: meta_agent(agent, configs[agent.id]) for agent in system.agents}
    lengths = {agent.id: lengths_of(system, agent, question_tokens) for agent in system.agents}
    numbers = {key: sum(each.numel() for each in loaded.model.parameters()) for key, loaded in agents.items()}
    shared = {checkpoint_of(agent): numbers[agent.id] for agent in system.agents}
    read = {key: numbers[key] * DTYPE.itemsize for key in agents}  # bytes of one pass
    rounds = system.rounds
    passes = again_bytes = 0
    flops = again_flops = 0.0
    for key, own in lengths.items():
        forward = own.rest + own.steps - 1
        passes += read[key] * (1 + rounds * 2 * own.steps)
        flops += 2.0 * numbers[key] * (own.prefix + rounds * 2 * forward)
        again_bytes += read[key] * rounds * own.steps
        again_flops += 2.0 * numbers[key] * rounds * forward
    deciding = agents[system.deciding_agent.id]
    vocabulary = len(deciding.model.get_input_embeddings().weight)
    prefixes = sum(_key_value_bytes(agents[key]) * own.prefix for key, own in lengths.items())
    return Estimate(
        weights_bytes=sum(shared.values()) * DTYPE.itemsize,
        links_bytes=_links_bytes(system, {key: loaded.hidden_size for key, loaded in agents.items()}),
        turn_bytes={key: kept_bytes(loaded, lengths[key]) for key, loaded in agents.items()},
        answer_bytes=answer_tokens * vocabulary * (DTYPE.itemsize + 2 * 4),
        prefix_bytes=prefixes,
        deciding=system.deciding_agent.id,
        rounds=rounds,
        passes=passes,
        flops=flops,
        again_bytes=again_bytes,
        again_flops=again_flops,
    )


def _key_value_bytes(agent: LoadedAgent) -> int:
    """Keys and values of one position."""
    with torch.device("meta"), torch.no_grad():
        _, context = begin(agent, [torch.empty(1, agent.hidden_size, dtype=agent.dtype)])
    layers = [layer for layer in context.cache.layers if getattr(layer, "keys", None) is not None]
    return sum(2 * layer.keys.numel() * agent.dtype.itemsize for layer in layers)


def _links_bytes(system: System, sizes: Mapping[str, int]) -> int:
    settings = system.training
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    with torch.device("meta"):
        links = Links.create(sizes, edges, settings.variant, settings.inner_width, settings.outer_width)
    outer = _numbers(links.outer.values())
    inner = _numbers(links.inner.values())
    return outer * OPTIMISED_BYTES + inner * (OPTIMISED_BYTES if settings.outer.train_inner else 4)


def _numbers(modules: Any) -> int:
    return sum(each.numel() for module in modules for each in module.parameters())


@dataclass(frozen=True)
class Proposal:
    """Settings for one GPU.

    Attributes:
        batch_size: Questions of a micro-batch; 0 if not even one fits.
        gradient_accumulation: Micro-batches of a step.
        checkpointing: Whether turns are recomputed.
        memory_bytes: Peak.
        seconds: The least time of a step.
    """

    batch_size: int
    gradient_accumulation: int
    checkpointing: bool
    memory_bytes: int
    seconds: float


def propose(found: Estimate, gpu: Gpu, questions: int) -> Proposal:
    """The fastest settings that fit a GPU and keep the questions of a step."""
    choices: list[Proposal] = []
    for checkpointing in (False, True):
        most = found.largest_batch(gpu, checkpointing, questions)
        divisors = [size for size in range(1, most + 1) if questions % size == 0]
        if divisors:
            size = max(divisors)
            parts = questions // size
            seconds = parts * found.seconds(gpu, size, checkpointing)
            choices.append(Proposal(size, parts, checkpointing, found.memory(size, checkpointing), seconds))
    if not choices:
        return Proposal(0, 0, True, found.memory(1, True), 0.0)
    return min(choices, key=lambda each: each.seconds)
