"""The model card that goes with a published system; its text is in `model_card.md.jinja`.

Source: the Hub's model cards. Everything in it comes from the manifest; anything unmeasured is marked as such.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from recursivemas.release.release_folder import ReleaseFolder
from recursivemas.system.manifest import AgentRecord, Manifest
from recursivemas.system.names import QUANTIZATIONS, Weights

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")

_DESCRIPTIONS = {each.name: each.description for each in QUANTIZATIONS}
_WEIGHTS: Mapping[Weights, str] = {
    "checkpoint": "unquantized weights",
    "dequantised": "the weights that the build stores, dequantised",
}
"""With which weights links were trained or measured."""


def model_card(release: ReleaseFolder, address: str) -> str:
    """The card's text.

    Args:
        release: What is published.
        address: URL of the folder the manifest will be in, without a slash at the end.
    """
    system = release.manifest
    checkpoints = system.provenance.get("checkpoints", {})
    card = ModelCard.from_template(
        _metadata(system),
        template_path=str(_TEMPLATE),
        release=release,
        system=system,
        provenance=system.provenance,
        checkpoints={agent.id: checkpoints.get(agent.id, {}) for agent in system.agents},
        quantizations=sorted({agent.quantization for agent in system.agents}),
        features=", ".join(f"`{name}`" for name in system.required_features),
        address=address,
        descriptions=_DESCRIPTIONS,
        weights=_WEIGHTS,
        megabytes=lambda size_bytes: f"{size_bytes / 1e6:.0f} MB",
        bullets=lambda values: "\n".join(bullets(values)),
    )
    return f"{card}\n"


def licence_of(agent: AgentRecord, manifest: Manifest) -> str | None:
    """The licence that the checkpoint of an agent's base model declares, if any."""
    licence: str | None = manifest.provenance.get("checkpoints", {}).get(agent.id, {}).get("license")
    return licence


def _metadata(manifest: Manifest) -> ModelCardData:
    licences = {licence_of(agent, manifest) for agent in manifest.agents}
    only = licences.pop() if len(licences) == 1 else None
    bases = sorted({agent.model for agent in manifest.agents if "/" in agent.model})
    return ModelCardData(
        base_model=bases or None,
        base_model_relation="quantized" if bases else None,
        library_name="recursivemas",
        license=only or "other",
        license_name=None if only else "licences-of-the-base-models",
        pipeline_tag="text-generation",
        tags=["recursivemas", "webgpu", "mlc-llm", "web-llm", "multi-agent", f"pattern-{manifest.pattern}"],
    )


def bullets(values: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    """Nested values as lines of a Markdown list."""
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield f"{indent}- {key}:"
            yield from bullets(value, f"{indent}  ")
        elif isinstance(value, (list, tuple)) and len(value) > 16:
            yield f"{indent}- {key}: {len(value)} values in the manifest"
        else:
            yield f"{indent}- {key}: {value}"
