"""Text models inside checkpoints for pictures and text."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harness.tiny_models import CASES, make_model, save
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 60}
(CASE,) = (case for case in CASES if case.name == "qwen3_5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same text model alone, and as a part of a model for pictures and text."""
    root = tmp_path_factory.mktemp("text-part")
    text: Any = make_model(CASE)
    save(text, root / "text")
    config = transformers.Qwen3_5Config(
        text_config=dict(CASE.shape), vision_config={**VISION, "patch_size": 4}, tie_word_embeddings=True
    )
    whole = transformers.Qwen3_5ForConditionalGeneration(config).float()
    whole.model.language_model.load_state_dict(text.model.state_dict())
    save(whole, root / "whole")
    return root / "text", root / "whole"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_text_model_is_converted_and_the_rest_left_out_in_one_line(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    scheme = find_scheme("q4f16_1")
    written = []
    for folder, note in zip(
        folders, (None, "Leaving out 21 tensors that the text model does not use (visual)"), strict=True
    ):
        model = prepare(Checkpoint(folder), scheme, "relax")
        assert model.note == note
        out = tmp_path / folder.name
        out.mkdir()
        model.write_weights(out, lambda done, total: None)
        written.append(_files(out))
    assert written[0] == written[1]


def test_what_the_layers_keep_is_counted(folders: tuple[Path, Path]) -> None:
    facts = prepare(Checkpoint(folders[1]), find_scheme("q4f16_1"), "relax").facts
    assert (facts.num_hidden_layers, facts.kv_cache.num_hidden_layers) == (5, 2)
    # Keys and values of 3 heads of 24 in two layers, float16; 256 positions in pages of 16, and one page more.
    assert facts.kv_cache_bytes == 2 * 2 * 3 * 24 * 272 * 2
    # Per linear layer: 3 positions of 2 * 24 + 120 channels, and 6 heads of 12 * 20, float32.
    assert facts.recurrent_state_bytes == 3 * 4 * (3 * 168 + 6 * 12 * 20)


def test_a_tensor_that_no_part_knows_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    whole = transformers.AutoModelForImageTextToText.from_pretrained(folders[1])
    whole.model.language_model.register_buffer("extra", torch.ones(2))
    save(whole, tmp_path)
    with pytest.raises(
        InputError, match=r"tensor 'model\.extra' is present that the model's definition has no use for"
    ):
        prepare(Checkpoint(tmp_path), find_scheme("q0f32"), "relax")
