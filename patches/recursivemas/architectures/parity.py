"""Compares MLC-LLM's definition of a family, as we export it, with transformers on a tiny random checkpoint.

It needs torch and transformers and runs on the CPU in float32, so it cannot run kernels that are written for a GPU
only.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recursivemas.architectures.cpu_model import CpuModel, cpu_target, relative_error
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.mlc.checkpoint_mapping import map_checkpoint
from recursivemas.mlc.definition import define, export_definition
from recursivemas.mlc.importing import Mlc
from recursivemas.mlc.weights import MlcWeights
from recursivemas.system.quantize import SCHEMES

TOLERANCE = 1e-4
"""Largest relative error of hidden states and logits."""

_PIECES = (13, 1, 6)
"""Positions per call: a prefill, a step, another prefill. Together they are more than a KV page, less than a window."""


@dataclass(frozen=True)
class Parity:
    """Relative errors ‖a − b‖ / ‖b‖ against transformers."""

    embed: float
    hidden: float
    logits: float

    @property
    def passed(self) -> bool:
        """Whether all errors are within `TOLERANCE`."""
        return max(self.embed, self.hidden, self.logits) <= TOLERANCE


def transformers_has(model_type: str) -> bool:
    """Whether transformers can make a language model of this type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in CONFIG_MAPPING and model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def save_random_checkpoint(config: dict[str, Any], folder: Path) -> None:
    """Makes a checkpoint with transformers.

    Its weights are large enough for every part of a layer to matter.

    Args:
        config: Content of `config.json`, with `model_type`.
        folder: Where `save_pretrained` writes.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    settings = dict(config)
    made = CONFIG_MAPPING[settings.pop("model_type")](**settings)
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and name.endswith("weight")
            centre = 1.0 if norm and not config["model_type"].startswith("gemma") else 0.0  # Gemma's norms add the one.
            scale = 0.3 if parameter.ndim > 1 else 0.2
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + centre)
    model.save_pretrained(folder, safe_serialization=True)


def check_parity(mlc: Mlc, config: dict[str, Any]) -> Parity:
    """Makes a random checkpoint, runs both, and compares input embeddings, hidden states and logits.

    Args:
        mlc: The imported MLC-LLM.
        config: Content of `config.json`, for a family that transformers has.

    Raises:
        InputError: The family cannot be exported.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_random_checkpoint(config, folder)
        ids = np.random.default_rng(1).integers(3, 150, size=sum(_PIECES)).astype(np.int32)
        expected = reference(folder, ids)
        model = _exported(mlc, Checkpoint(folder))
        embeddings = model.embed(ids)
        first, parts = 0, []
        for size in _PIECES:
            parts.append(model.get_last_hidden(embeddings[None, first : first + size])[0])
            first += size
        hidden = np.concatenate(parts)
        found = (embeddings, hidden, model.lm_head(hidden))
        return Parity(*(relative_error(a, b) for a, b in zip(found, expected, strict=True)))


def _exported(mlc: Mlc, checkpoint: Checkpoint) -> CpuModel:
    scheme, target = SCHEMES["q0f32"], cpu_target()
    definition = define(mlc, checkpoint.config, scheme, target)
    exported, _ = export_definition(definition, target)
    mapping = map_checkpoint(definition, exported.tensors, checkpoint)
    weights = MlcWeights(definition, exported.tensors, mapping, checkpoint, scheme)
    return CpuModel(exported.module, [value for _, value in weights.arrays()])


def reference(folder: Path, ids: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """transformers' input embeddings (T, D), hidden states after the last normalisation (T, D) and logits (T, V)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.tensor(ids.astype(np.int64))
    with torch.no_grad():
        output = model(tokens[None], output_hidden_states=True)
        embeddings = model.get_input_embeddings()(tokens)
    return embeddings.numpy(), output.hidden_states[-1][0].numpy(), output.logits[0].numpy()
