"""Frozen agents: a checkpoint, its tokenizer, and what the recursion asks of them."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch
import transformers
from torch import Tensor

from recursivemas.system.chat_template import chat_wrap, load_chat_template, render_chat
from recursivemas.system.errors import InputError
from recursivemas.system.hub import resolve_model
from recursivemas.system.prompt import Segment, Text, parse_template
from recursivemas.system.system import Agent, System
from recursivemas.system.tokenizer import load_tokenizer

# transformers' names of layer types that need more than a cache of keys and values
_STATEFUL_LAYERS = frozenset({"linear_attention", "conv", "hybrid", "hybrid_sliding"})
_REPLY = "\N{LEFT CEILING}reply\N{RIGHT CEILING}"


@dataclass(frozen=True)
class LoadedAgent:
    """One frozen agent.

    Attributes:
        agent: Its declaration.
        model: A transformers causal language model, without gradients, in eval mode.
        tokenizer: Its tokenizer.
        folder: The checkpoint's folder on disk.
        prefix: Text of the chat template before the prompt; empty without one.
        suffix: Text of the chat template after the prompt.
    """

    agent: Agent
    model: Any
    tokenizer: Any
    folder: Path
    prefix: str = ""
    suffix: str = ""

    @property
    def hidden_size(self) -> int:
        """D of this agent."""
        return int(self._embedding_weight.shape[1])

    @property
    def _embedding_weight(self) -> Tensor:
        """(V, D) as stored, without the scale of some families."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def embedding_table(self) -> Tensor:
        """(V, D) input embeddings of every token as the agent reads them, with the scale of some families."""
        return self.embed(torch.arange(len(self._embedding_weight)))

    @property
    def device(self) -> torch.device:
        """The device that the agent computes on."""
        return self._embedding_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the agent computes in."""
        return self._embedding_weight.dtype

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end decoding."""
        return frozenset(self._stop_list)

    @property
    def _stop_list(self) -> list[int]:
        """Ids that end decoding, as the checkpoint lists them."""
        ids = self.model.generation_config.eos_token_id
        if ids is None:
            ids = self.model.config.eos_token_id
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    @functools.cached_property
    def closing_token(self) -> int | None:
        """The stop token that belongs after an answer; None if the agent has no stop token.

        It is the one that the chat template writes after an assistant turn, else the tokenizer's `eos_token`, else the
        first one that the checkpoint lists.
        """
        stops = self._stop_list
        if len(stops) > 1:
            after = self.token_ids(_after_assistant(self.folder)) if self.agent.chat_template else []
            for token in (*after, self.tokenizer.eos_token_id):
                if token in stops:
                    return int(token)
        return stops[0] if stops else None

    def segments(self, round_index: int) -> tuple[Segment, ...]:
        """The parsed prompt of a round, counted from 0, with the chat template around it."""
        parsed = parse_template(self.agent.prompt_for(round_index))
        return (Text(self.prefix), *parsed, Text(self.suffix))

    def token_ids(self, text: str) -> list[int]:
        """Ids of text, without automatic special tokens; special tokens that the text spells out are recognised."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Input embeddings of ids (..., ) as (..., D)."""
        tokens = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        embedded: Tensor = self.model.get_input_embeddings()(tokens)
        return embedded

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _after_assistant(folder: Path) -> str:
    """The text that a checkpoint's chat template writes after an assistant turn; empty if it takes no such turn."""
    loaded = load_chat_template(folder)
    if loaded is None:
        return ""
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _REPLY}]
    try:
        return render_chat(loaded[0], turns, loaded[1], enable_thinking=False).rpartition(_REPLY)[2]
    except jinja2.TemplateError:
        return ""


def resolve_checkpoint(agent: Agent) -> Path:
    """The folder of an agent's checkpoint; a hub id is downloaded into the hub's cache.

    Raises:
        InputError: When it is neither a folder nor available from the hub.
    """
    try:
        return resolve_model(agent.model, agent.revision).folder
    except InputError as error:
        raise InputError(f"agent {agent.id!r}: {error}") from None


def _has_recurrent_state(config: Any) -> bool:
    """Whether any layer keeps more than keys and values (Mamba, RWKV, linear attention, convolutions)."""
    types = getattr(config.get_text_config(decoder=True), "layer_types", None) or []
    model_class = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return bool(getattr(model_class, "_is_stateful", False)) or not _STATEFUL_LAYERS.isdisjoint(types)


def load_agent(agent: Agent, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedAgent:
    """Loads a checkpoint as a frozen agent.

    Raises:
        InputError: When the checkpoint cannot be read, or its layers keep a recurrent state.
    """
    folder = resolve_checkpoint(agent)
    transformers.utils.logging.disable_progress_bar()
    unreadable = f"agent {agent.id!r}: {folder} is not a readable checkpoint"
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{unreadable}: {error}") from None
    # Checked before the weights, because some of these families cannot even be loaded with this attention.
    if _has_recurrent_state(config):
        raise InputError(
            f"agent {agent.id!r}: {config.model_type} layers keep a recurrent state; the rollout needs a model "
            "with a KV cache alone, such as qwen3, llama or gemma3_text"
        )
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{unreadable}: {error}") from None
    try:
        tokenizer = load_tokenizer(folder)
    except InputError as error:
        raise InputError(f"agent {agent.id!r}: {error}") from None
    model = model.to(device).eval().requires_grad_(False)
    return LoadedAgent(agent, model, tokenizer, folder, *_wrap(agent, folder))


def _wrap(agent: Agent, folder: Path) -> tuple[str, str]:
    """Text of the chat template before and after an agent's prompt."""
    return chat_wrap(folder) if agent.chat_template else ("", "")


def load_agents(
    system: System, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, LoadedAgent]:
    """All agents of a system by id; agents that share a checkpoint share its weights in memory."""
    loaded: dict[str, LoadedAgent] = {}
    by_checkpoint: dict[tuple[str, str | None], LoadedAgent] = {}
    for agent in system.agents:
        checkpoint = (agent.model, agent.revision)
        if checkpoint not in by_checkpoint:
            by_checkpoint[checkpoint] = load_agent(agent, device, dtype)
        first = by_checkpoint[checkpoint]
        loaded[agent.id] = LoadedAgent(agent, first.model, first.tokenizer, first.folder, *_wrap(agent, first.folder))
    return loaded


def checksum(model: torch.nn.Module) -> str:
    """SHA-256 over every parameter and buffer, by name, as raw bytes: it proves that an agent stayed frozen."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checksums(agents: Mapping[str, LoadedAgent]) -> dict[str, str]:
    """Checksum of every agent by id."""
    return {agent_id: checksum(loaded.model) for agent_id, loaded in agents.items()}
