"""Finds the text model in a checkpoint: its family, its configuration, and its tensors.

Source: `AutoModelForCausalLM` of transformers, which takes a family's text model out of a model for pictures and text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recursivemas.compiler.models.config_keys import COMMON
from recursivemas.compiler.models.families import FAMILIES, Family
from recursivemas.system.errors import InputError


def text_config(config: Mapping[str, Any]) -> tuple[Family, Mapping[str, Any]]:
    """The family of a checkpoint, and the configuration of its text model.

    Args:
        config: The parsed config.json.

    Raises:
        InputError: The architecture is unknown, or a key beside the text model's is.
    """
    model_type, architectures = config.get("model_type"), config.get("architectures")
    supported = ", ".join(f"{each.model_type} ({each.architecture})" for each in FAMILIES.values())
    unknown = f"config.json: architectures {architectures} are not implemented; supported: {supported}"
    for family in FAMILIES.values():
        if model_type == (family.config_type or family.model_type):
            if (architectures or [family.architecture]) != [family.architecture]:
                raise InputError(unknown)
            return family, config
        whole = family.multimodal
        if whole is not None and model_type == whole.model_type:
            if (architectures or [whole.architecture]) != [whole.architecture]:
                raise InputError(unknown)
            return family, _nested(family, config)
    raise InputError(
        f"config.json: model_type {model_type!r} is not implemented; supported: {supported}; MLC-LLM has more "
        "families (--backend mlc, with MLC_LLM_SOURCE_DIR set to its sources)"
    )


def _nested(family: Family, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`text_config`, after the keys beside it are found to change nothing."""
    assert family.multimodal is not None
    text = config.get("text_config")
    if not isinstance(text, dict):
        raise InputError(f"config.json ({family.multimodal.model_type}): missing object 'text_config'")
    inert = {**COMMON, **family.multimodal.inert}
    for key in sorted(config.keys() - {"text_config", "tie_word_embeddings"}):
        if key not in inert or not inert[key].accepts(config[key]):
            raise InputError(
                f"config.json ({family.multimodal.model_type}): {key} beside text_config is not implemented; "
                "take it out if the model computes the same without it"
            )
    tied = text.get("tie_word_embeddings", family.defaults.get("tie_word_embeddings", False))
    if config.get("tie_word_embeddings", tied) != tied:
        raise InputError(
            f"config.json ({family.multimodal.model_type}): tie_word_embeddings differs from the one in text_config; "
            "transformers reads the first for pictures and the second for text"
        )
    return {"model_type": family.config_type or family.model_type, **text, "architectures": [family.architecture]}


def text_names(family: Family, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Sorts a checkpoint's tensors.

    Args:
        family: Of the checkpoint.
        names: The tensors' names.

    Returns:
        The name that the model's definition uses, by the name in the checkpoint, and the names that are left out.
    """
    kept: dict[str, str] = {}
    left_out: list[str] = []
    for name in names:
        prefix = next((each for each in family.text_prefixes if name.startswith(each)), None)
        if prefix is not None:
            kept[name] = f"model.{name.removeprefix(prefix)}"
        elif name.startswith(family.left_out):
            left_out.append(name)
        else:
            kept[name] = name
    return kept, left_out


def left_out_note(names: Sequence[str]) -> str | None:
    """One line about tensors that are left out; None if there are none."""
    if not names:
        return None
    parts = sorted({name.removeprefix("model.").partition(".")[0] for name in names})
    return f"Leaving out {len(names)} tensors that the text model does not use ({', '.join(parts)})"
