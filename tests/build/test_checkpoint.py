"""Reading checkpoints: formats, row blocks, and every way in which a folder can be wrong."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.params import ParamSpec
from recursivemas.system.errors import InputError

EMBED = "model.embed_tokens.weight"


def spec(name: str, shape: tuple[int, ...]) -> ParamSpec:
    return ParamSpec(name, shape, (name,), (shape,), quantize=True)


SPECS = [spec(EMBED, (10, 6)), spec("model.norm.weight", (6,))]


def tensors(dtype: object = np.float32) -> dict[str, np.ndarray]:
    values = np.arange(66, dtype=np.float32)
    return {EMBED: values[:60].reshape(10, 6).astype(dtype), "model.norm.weight": values[60:].astype(dtype)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    save_file(tensors(), tmp_path / "model.safetensors")
    return tmp_path


def read_all(checkpoint: Checkpoint, name: str, max_values: int) -> list[np.ndarray]:
    return [block.copy() for block in checkpoint.read(name, max_values)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_checkpoint_reads_each_dtype_in_row_blocks(folder: Path, dtype: object) -> None:
    save_file(tensors(dtype), folder / "model.safetensors")
    checkpoint = Checkpoint(folder)
    checkpoint.check(SPECS)
    blocks = read_all(checkpoint, EMBED, max_values=20)
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert np.concatenate(blocks).tobytes() == tensors(dtype)[EMBED].tobytes()
    assert blocks[0].dtype == np.dtype(dtype)
    assert [len(block) for block in read_all(checkpoint, "model.norm.weight", 4)] == [4, 2]


def test_checkpoint_reads_a_sharded_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, (name, value) in enumerate(tensors().items()):
        save_file({name: value}, folder / f"model-{number}.safetensors")
        weight_map[name] = f"model-{number}.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = Checkpoint(folder)
    checkpoint.check(SPECS)
    assert np.array_equal(read_all(checkpoint, "model.norm.weight", 100)[0], tensors()["model.norm.weight"])


def test_checkpoint_ignores_rotary_buffers_and_a_tied_copy(folder: Path) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}
    save_file(tensors() | extra | {"lm_head.weight": tensors()[EMBED]}, folder / "model.safetensors")
    Checkpoint(folder).check(SPECS)


def test_checkpoint_refuses_a_head_that_differs_from_the_tied_embedding(folder: Path) -> None:
    save_file(tensors() | {"lm_head.weight": tensors()[EMBED] + 1}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"'lm_head.weight' is present that the model's definition has no use for"):
        Checkpoint(folder).check(SPECS)


def test_checkpoint_refuses_missing_tensors(folder: Path) -> None:
    more = [spec(f"model.layers.{i}.weight", (2, 2)) for i in range(5)]
    with pytest.raises(InputError, match=r"5 tensors \('model.layers.0.weight', .* and 2 more\) are missing"):
        Checkpoint(folder).check(SPECS + more)
    with pytest.raises(InputError, match=r"tensor 'model.layers.0.weight' is missing"):
        Checkpoint(folder).check(SPECS + more[:1])


def test_checkpoint_refuses_extra_tensors(folder: Path) -> None:
    save_file(tensors() | {"model.q_proj.bias": np.ones(3, np.float32)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"tensor 'model.q_proj.bias' is present"):
        Checkpoint(folder).check(SPECS)


def test_checkpoint_refuses_a_wrong_shape(folder: Path) -> None:
    with pytest.raises(InputError, match=r"has shape \[10, 6\], config.json asks for \[12, 6\]"):
        Checkpoint(folder).check([spec(EMBED, (12, 6)), SPECS[1]])


def test_checkpoint_refuses_other_dtypes(folder: Path) -> None:
    save_file(tensors() | {EMBED: np.ones((10, 6), np.int8)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"is I8; F32, F16 and BF16 can be converted"):
        Checkpoint(folder).check(SPECS)


@pytest.mark.parametrize("keep", [3, 40, -1])
def test_checkpoint_refuses_a_truncated_file(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model.safetensors: not a whole safetensors file \(.*\); download it again"):
        Checkpoint(folder)


def test_checkpoint_refuses_a_file_cut_short_while_reading(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="ends inside tensor"):
        read_all(checkpoint, EMBED, 100)


def _without(name: str, *instead: str) -> object:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        for other in instead:
            (folder / other).write_bytes(b"")

    return change


def _with(name: str, text: str) -> object:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink(missing_ok=True)
        (folder / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("config.json"), r"config.json: no such file; a checkpoint folder holds config.json"),
        (_without("config.json", "model.Q4_K_M.gguf"), r"the weights are in a GGUF file; name the file .*Q4_K_M.gguf"),
        (_without("model.safetensors"), r"no model.safetensors in it"),
        (_without("model.safetensors", "model.gguf"), r"the weights are in a GGUF file"),
        (_without("model.safetensors", "pytorch_model.bin"), r"only pickled weights \(pytorch_model.bin\)"),
        (_without("model.safetensors", "adapter_model.safetensors"), r"holds a LoRA adapter only"),
        (_without("model.safetensors", "other.safetensors"), r"found only other.safetensors"),
        (_with("config.json", "{"), r"config.json: not valid JSON"),
        (_with("config.json", "[]"), r"config.json: expected a JSON object, got list"),
        (_with("config.json", '{"quantization_config": {"quant_method": "gptq"}}'), r"already quantized \(gptq\)"),
        (_with("model.safetensors.index.json", '{"weight_map": {}}'), r"expected an object `weight_map`"),
        (_with("model.safetensors.index.json", '{"weight_map": {"a": "b.safetensors"}}'), r"but it is missing"),
        (
            _with("model.safetensors.index.json", '{"weight_map": {"a": "../b"}}'),
            r"expected a file name",
        ),
    ],
)
def test_checkpoint_refuses_other_folders(folder: Path, change: object, message: str) -> None:
    change(folder)
    with pytest.raises(InputError, match=message) as caught:
        Checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", ["a.safetensors", "b.safetensors"])
def test_a_tensor_in_two_shards_is_read_once_or_refused(folder: Path, named: str) -> None:
    (folder / "model.safetensors").unlink()
    values = tensors()
    norm = {"model.norm.weight": values["model.norm.weight"]}
    index = {"weight_map": {EMBED: "a.safetensors", "model.norm.weight": named, "other": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({EMBED: values[EMBED], **norm}, folder / "a.safetensors")
    save_file({"other": values[EMBED], **norm}, folder / "b.safetensors")
    assert Checkpoint(folder).tensors["model.norm.weight"].file.name == named
    save_file({"other": values[EMBED], "model.norm.weight": norm["model.norm.weight"] + 1}, folder / "b.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors and in b\.safetensors with different"):
        Checkpoint(folder)


@pytest.mark.parametrize("text", ['{"vocab_size": ' + "9" * 5000 + "}", "[" * 100000 + "]" * 100000])
def test_absurd_json_is_refused_in_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match="not valid JSON") as caught:
        Checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["null", '"x"', "[]", '{"quant_method": "awq"}'])
def test_only_null_means_that_a_checkpoint_is_not_quantized(folder: Path, value: str) -> None:
    (folder / "config.json").write_text(f'{{"model_type": "llama", "quantization_config": {value}}}')
    if value == "null":
        assert Checkpoint(folder).config["quantization_config"] is None
    else:
        with pytest.raises(InputError, match="already quantized"):
            Checkpoint(folder)


def test_checkpoint_refuses_a_shard_without_its_tensor(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"absent": "a.safetensors"}}')
    with pytest.raises(InputError, match="tensor 'absent', which the index places there, is missing"):
        Checkpoint(folder)


def test_checkpoint_refuses_no_folder_and_a_file(folder: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint folder"):
        Checkpoint(folder / "absent")
    with pytest.raises(InputError, match="expected a checkpoint folder, this is a file"):
        Checkpoint(folder / "config.json")
    gguf = folder / "m.gguf"
    gguf.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="ends at byte 4"):
        Checkpoint(folder, gguf)
