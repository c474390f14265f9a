"""Frozen agents: a checkpoint, its tokenizer, and what the recursion asks of them."""

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from recursivemas.system.chat_template import ChatTemplate, Wrap, end_of_turn, wrap_prompts
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.generation_config import (
    checkpoint_sampling,
    end_tokens,
    eos_token,
    read_generation_config,
    stop_tokens,
)
from recursivemas.system.hub import CheckpointRef, ResolvedModel, checkpoint_of
from recursivemas.system.lora import LoraAdapter
from recursivemas.system.manifest import Sampling
from recursivemas.system.prompt import Latent, Text, fill, joined, parse_template
from recursivemas.system.questions import Asked, values_of
from recursivemas.system.system import Agent, System
from recursivemas.system.tokenizer import load_tokenizer

# transformers' names of layer types that need more than a cache of keys and values
_STATEFUL_LAYERS = frozenset({"linear_attention", "conv", "hybrid", "hybrid_sliding"})
# Families whose recurrent states `caches.LinearState` keeps
_RECURRENT = frozenset({"qwen3_5_text"})


@dataclass(frozen=True)
class LoadedAgent:
    """One frozen agent.

    Attributes:
        agent: Its declaration.
        model: A transformers causal language model, without gradients, in eval mode.
        tokenizer: Its tokenizer.
        folder: The checkpoint's folder on disk.
        wraps: What the chat template puts around each prompt, by the keys of `Agent.prompts`.
        stop_list: Ids that end decoding, the checkpoint's own first and as it lists them.
        end_of_turn: The one that the chat template writes after an assistant's turn, if it does.
        sampling: How the checkpoint says that tokens are picked.
    """

    agent: Agent
    model: Any
    tokenizer: Any
    folder: Path
    wraps: Mapping[str, Wrap] = field(default_factory=dict)
    stop_list: tuple[int, ...] = ()
    end_of_turn: int | None = None
    sampling: Sampling = field(default_factory=Sampling)

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
    def context_window(self) -> int:
        """The most positions that the checkpoint was made for."""
        return int(self.model.config.get_text_config(decoder=True).max_position_embeddings)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end decoding."""
        return frozenset(self.stop_list)

    @property
    def closing_token(self) -> int | None:
        """The stop token that belongs after an answer; None if the agent has no stop token.

        It is the one that the chat template writes after an assistant turn, else the tokenizer's `eos_token`, else the
        first one that the checkpoint lists.
        """
        if self.end_of_turn in self.stop_list:
            return self.end_of_turn
        if self.tokenizer.eos_token_id in self.stop_list:
            return int(self.tokenizer.eos_token_id)
        return self.stop_list[0] if self.stop_list else None

    def filled(self, round_index: int, asked: Asked, alone: bool = False) -> tuple[Text | Latent, ...]:
        """The prompt of a round, counted from 0, or of the agent alone, for a question, with the chat template around.

        No `Text` is empty, and no two are neighbours.
        """
        key = self.agent.prompt_key(round_index, alone)
        wrap = self.wraps.get(key, Wrap())
        message = fill(parse_template(self.agent.prompts[key]), values_of(asked), wrap.trim)
        return joined((Text(wrap.prefix), *message, Text(wrap.suffix)))

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
        """Text of ids, special tokens and outer white space left out."""
        return self.raw_text(ids).strip()

    def raw_text(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def resolve_checkpoint(agent: Agent) -> ResolvedModel:
    """An agent's checkpoint, downloaded if it is not on this machine, and its adapter.

    Raises:
        InputError: When it is not available or cannot be used.
    """
    try:
        return checkpoint_of(agent).resolve()
    except InputError as error:
        raise InputError(f"agent {agent.id!r}: {error}") from None


def _has_unknown_state(config: Any) -> bool:
    """Whether any layer keeps more than keys and values (Mamba, RWKV, convolutions), except in `_RECURRENT`."""
    text = config.get_text_config(decoder=True)
    if text.model_type in _RECURRENT:
        return False
    types = getattr(text, "layer_types", None) or []
    model_class = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return bool(getattr(model_class, "_is_stateful", False)) or not _STATEFUL_LAYERS.isdisjoint(types)


def load_agent(agent: Agent, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedAgent:
    """Loads a checkpoint as a frozen agent, with its adapter merged.

    Raises:
        InputError: When the checkpoint cannot be read, or its layers keep a recurrent state.
    """
    resolved = resolve_checkpoint(agent)
    folder = resolved.folder
    transformers.utils.logging.disable_progress_bar()
    unreadable = f"agent {agent.id!r}: {folder} is not a readable checkpoint"
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{unreadable}: {error}") from None
    # Checked before the weights, because some of these families cannot even be loaded with this attention.
    if _has_unknown_state(config):
        raise InputError(
            f"agent {agent.id!r}: {config.model_type} layers keep a recurrent state; the rollout needs a model with a "
            "KV cache alone, such as qwen3, llama or gemma3_text, or qwen3_5"
        )
    try:
        model = _load_model(resolved, config, dtype)
    except (OSError, ValueError) as error:
        raise InputError(f"{unreadable}: {error}") from None
    if resolved.adapter is not None:
        try:
            merge_adapter(model, resolved.adapter)
        except InputError as error:
            raise InputError(f"agent {agent.id!r}: {error}") from None
    try:
        tokenizer = load_tokenizer(folder)
    except InputError as error:
        raise InputError(f"agent {agent.id!r}: {error}") from None
    model = model.to(device).eval().requires_grad_(False)
    return _with_prompts(agent, LoadedAgent(agent, model, tokenizer, folder))


def _load_model(resolved: ResolvedModel, config: Any, dtype: torch.dtype) -> Any:
    """The model of transformers; it unpacks the weights of a GGUF file itself."""
    options = {"config": config, "dtype": dtype, "attn_implementation": "sdpa"}
    load = transformers.AutoModelForCausalLM.from_pretrained
    if resolved.gguf is not None:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that transformers does not let one turn off
            return load(resolved.gguf.parent, gguf_file=resolved.gguf.name, **options)
    # With peft installed, transformers would load an adapter whose configuration lies beside full weights, unless it
    # looks for one in another folder.
    return load(resolved.folder, use_safetensors=True, adapter_kwargs={"subfolder": "no adapter"}, **options)


@torch.no_grad()
def merge_adapter(model: torch.nn.Module, adapter: LoraAdapter) -> None:
    """Adds an adapter's changes to a model's weights, in float32, as a build does.

    Args:
        model: On any device, in any dtype; changed in place.
        adapter: The adapter.

    Raises:
        InputError: When it does not fit the model.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    adapter.check_fits({name: tuple(each.shape) for name, each in parameters.items()}, tied)
    for name in adapter.modules:
        weight = parameters[name]
        change = torch.from_numpy(adapter.change(name, 0, len(weight))).to(weight.device)
        weight.copy_(weight.float() + change)


def _with_prompts(agent: Agent, loaded: LoadedAgent) -> LoadedAgent:
    """An agent that has a checkpoint's model and tokenizer, with what the checkpoint says about prompts and stops."""
    tokenizer, folder = loaded.tokenizer, loaded.folder
    template = ChatTemplate.of(tokenizer) if agent.chat_template else None
    wraps = wrap_prompts(agent, template)
    added = tokenizer.get_added_vocab()
    turn = None if template is None else end_of_turn(template, agent.chat_template_options, added)
    end = end_tokens(folder, read_json(folder / "config.json", "configuration"), tokenizer)
    stops = stop_tokens(end, turn) if agent.stop == "checkpoint" else eos_token(agent.id, tokenizer.eos_token_id)
    sampling = checkpoint_sampling(read_generation_config(folder), str(folder / "generation_config.json"))
    return LoadedAgent(agent, loaded.model, tokenizer, folder, wraps, stops, turn, sampling)


def load_agents(
    system: System, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, LoadedAgent]:
    """All agents of a system by id; agents that share a checkpoint share its weights in memory."""
    loaded: dict[str, LoadedAgent] = {}
    by_checkpoint: dict[CheckpointRef, LoadedAgent] = {}
    for agent in system.agents:
        checkpoint = checkpoint_of(agent)
        if checkpoint not in by_checkpoint:
            by_checkpoint[checkpoint] = load_agent(agent, device, dtype)
        first = by_checkpoint[checkpoint]
        loaded[agent.id] = first if first.agent is agent else _with_prompts(agent, first)
    return loaded


def checksum(model: torch.nn.Module) -> str:
    """SHA-256 over every parameter and buffer, by name, as raw bytes: it proves that an agent stayed frozen."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checksums(agents: Mapping[str, LoadedAgent]) -> dict[str, str]:
    """Checksum of every agent by id; weights that several agents share are read once."""
    models = {id(loaded.model): loaded.model for loaded in agents.values()}
    found = {key: checksum(model) for key, model in models.items()}
    return {agent_id: found[id(loaded.model)] for agent_id, loaded in agents.items()}
