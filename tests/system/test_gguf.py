"""GGUF files: unpacked weights against the package `gguf`, whole models against transformers, and files that lie."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

from harness.gguf_files import TEMPLATE, VOCABULARY, write_gguf
from harness.tiny_models import LLAMA3_ROPE, Case, make_model
from recursivemas.system.errors import InputError
from recursivemas.system.gguf_file import GgufFile, unpack
from recursivemas.system.gguf_model import GgufModel
from recursivemas.system.gguf_tokenizer import write_tokenizer
from recursivemas.system.hub import CheckpointRef
from recursivemas.system.tokenizer import probe_tokenizer

Kind = gguf.GGMLQuantizationType
UNPACKED = [kind for kind in Kind if kind in gguf.quants._type_traits or kind in (Kind.F32, Kind.F16)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))


def shape(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 288,
        "max_position_embeddings": 256,
        **more,
    }


LLAMA = Case("llama", "LlamaForCausalLM", shape(), 1)
CASES = (
    LLAMA,
    Case("untied", "LlamaForCausalLM", shape(tie_word_embeddings=False, attention_bias=True), 2),
    Case("qwen2", "Qwen2ForCausalLM", shape(), 3),
    Case("qwen3", "Qwen3ForCausalLM", shape(head_dim=32), 4),
    Case("gemma3", "Gemma3ForCausalLM", shape(head_dim=32, num_hidden_layers=7, sliding_window=8), 5),
)


@pytest.mark.parametrize("kind", UNPACKED, ids=lambda kind: kind.name)
def test_weights_of_every_type_are_unpacked_like_the_package_does(kind: Kind, tmp_path: Path) -> None:
    block, nbytes = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(kind.value)
    packed = rng.integers(0, 256, (6, 512 // block * nbytes), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("first", np.zeros(3, np.float32))  # so that alignment counts
    writer.add_tensor("t", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "m.gguf")
    tensor = file.tensors["t"]
    assert (tensor.shape, tensor.type_name) == ((6, 512), kind.name)
    found = np.concatenate([unpack(file.packed(tensor, first, 2), tensor.type_name) for first in (0, 2, 4)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found, gguf.quants.dequantize(packed, kind))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_model_equals_the_one_that_transformers_loads(case: Case, tmp_path: Path) -> None:
    original = make_model(case)

    def packing(name: str, values: np.ndarray[Any, Any]) -> Kind:
        return Kind.F32 if values.ndim == 1 else Kind.Q8_0 if "attn" in name else Kind.Q4_1

    path = write_gguf(original, tmp_path / "m.gguf", packing)
    model = GgufModel(path)
    ours = transformers.AutoConfig.from_pretrained(CheckpointRef(str(path)).resolve().folder)
    # transformers itself does not read biases of llama, nor widths of heads of qwen3 and gemma3.
    configurations = [{"config": ours}, *([{}] if case.name in ("llama", "qwen2") else [])]
    for options in configurations:
        load = transformers.AutoModelForCausalLM.from_pretrained
        loaded = load(tmp_path, gguf_file="m.gguf", dtype=torch.float32, **options).eval()
        state = loaded.state_dict()
        assert set(state) - ({"lm_head.weight"} if loaded.config.tie_word_embeddings else set()) == set(model.sources)
        for name in model.sources:
            blocks = list(model.blocks(name, 1000))
            np.testing.assert_array_equal(np.concatenate(blocks), state[name].numpy(), err_msg=name)
    exact = GgufModel(write_gguf(original, tmp_path / "exact.gguf"))
    for name in exact.sources:
        expected = original.state_dict()[name].numpy()
        np.testing.assert_allclose(np.concatenate(list(exact.blocks(name, 1000))), expected, atol=1e-6, err_msg=name)
    assert ours.model_type == original.config.model_type
    for key in ("head_dim", "rms_norm_eps", "tie_word_embeddings", "rope_parameters", "sliding_window", "layer_types"):
        if key in original.config.to_dict():
            assert getattr(ours, key) == getattr(original.config, key), key


def test_llama3_scaling_is_recognised_by_its_divisors_and_others_are_refused(tmp_path: Path) -> None:
    rope = {**LLAMA3_ROPE, "rope_theta": 5e5, "factor": 32.0, "original_max_position_embeddings": 8192}
    path = write_gguf(make_model(Case("l", "LlamaForCausalLM", shape(rope_parameters=rope), 1)), tmp_path / "m.gguf")
    assert GgufModel(path).config["rope_scaling"] == {key: rope[key] for key in rope if key != "rope_theta"}
    rope |= {"factor": 5.0}
    write_gguf(make_model(Case("l", "LlamaForCausalLM", shape(rope_parameters=rope), 1)), path)
    with pytest.raises(InputError, match=r"neither Llama 3.1's scaling"):
        GgufModel(path)


def test_tokenizer_comes_from_the_file_or_is_asked_for(tmp_path: Path) -> None:
    model = make_model(LLAMA)
    path = write_gguf(model, tmp_path / "m.gguf")
    found = CheckpointRef(str(path)).resolve()
    tokenizer = probe_tokenizer(found.folder).tokenizer
    assert tokenizer.tokenize("ab 1984") == ["ab", "Ġ", "1", "9", "8", "4"]
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.eos_token == "<|endoftext|>"
    assert found.name == "m" and found.weight_files == [path]
    unknown = write_gguf(model, tmp_path / "u.gguf", pre="somebody's")
    with pytest.raises(InputError, match=r"steps .somebody's.*--tokenizer"):
        CheckpointRef(str(unknown)).resolve()
    supplied = CheckpointRef(str(unknown), tokenizer=str(found.folder)).resolve()
    assert (supplied.folder / "tokenizer.json").read_bytes() == (found.folder / "tokenizer.json").read_bytes()
    content = json.loads((found.folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="belongs to another model"):
        CheckpointRef(str(unknown), tokenizer=str(other)).resolve()


def test_sha256_of_a_file_is_checked(tmp_path: Path) -> None:
    path = write_gguf(make_model(LLAMA), tmp_path / "m.gguf")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert CheckpointRef(str(path), sha256=digest).resolve().gguf == path
    with pytest.raises(InputError, match=f"has the sha256 {digest}"):
        CheckpointRef(str(path), sha256="0" * 64).resolve()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"llama.block_count": None}, "'llama.block_count' is missing"),
        ({"llama.embedding_length": -1.0}, "embedding_length: an integer from 1"),
        ({"llama.block_count": 4_000_000_000}, "block_count: an integer from 1 to 1024"),
        ({"llama.vocab_size": 289}, "vocab_size: 288 was expected, got 289"),
        ({"llama.expert_count": 8}, "expert_count: 0 was expected, got 8"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type: 'none' was expected, got 'yarn'"),
        ({"llama.rope.freq_base": float("nan")}, "rope.freq_base: a positive number was expected, got nan"),
        ({"llama.attention.clamp_kqv": 3.0}, "'llama.attention.clamp_kqv' is not known"),
        ({"general.architecture": "mamba"}, "architecture 'mamba' cannot be read from GGUF; supported: llama"),
        ({"split.count": 3}, "one of several parts"),
        ({"tokenizer.ggml.token_type": [1, 2]}, "token_type has no entry for each"),
        ({"tokenizer.ggml.tokens": VOCABULARY[:1] * 288}, "has a token twice"),
        ({"tokenizer.ggml.merges": ["a"]}, "the merge 'a' does not have two parts"),
        ({"tokenizer.ggml.eos_token_id": 288}, "eos_token 288 is none of its 288 tokens"),
    ],
)
def test_metadata_that_cannot_be_right_is_refused_in_one_line(
    metadata: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write_gguf(make_model(LLAMA), tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(InputError) as refusal:
        CheckpointRef(str(path)).resolve()
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


U32, U64, STRING, ARRAY = 4, 10, 8, 9


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def header(tensors: bytes = b"", count: int = 0, keys: bytes = b"", key_count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, key_count) + keys + tensors


def tensor(name: bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(dims)}Q", *dims)
    return text(name) + struct.pack("<I", len(dims)) + sizes + struct.pack("<IQ", kind, offset)


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


HUGE = (1 << 64) - 1
LIES = {
    "nothing": (b"", "ends at byte 0"),
    "magic": (b"GGML" + bytes(100), "not a GGUF file"),
    "version": (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "tensor count": (header(count=HUGE), f"says that it has {HUGE} tensors, more than fit"),
    "key count": (header(key_count=1 << 40), "keys of metadata, more than fit"),
    "text length": (header(keys=struct.pack("<Q", HUGE) + bytes(40), key_count=1), "in the middle of its header"),
    "array length": (
        header(keys=key(b"a", ARRAY, struct.pack("<IQ", U32, 1 << 62)) + bytes(40), key_count=1),
        "items of a, more than fit",
    ),
    "text count": (
        header(keys=key(b"a", ARRAY, struct.pack("<IQ", STRING, 1 << 40)) + bytes(40), key_count=1),
        "items of a, more than fit",
    ),
    "nested arrays": (
        header(keys=key(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1)) + bytes(40), key_count=1),
        "an array of the type 9",
    ),
    "type of a key": (header(keys=key(b"a", 99, bytes(40)), key_count=1), "a: has the type 99"),
    "key twice": (header(keys=key(b"a", U32, bytes(4)) * 2, key_count=2), "has the key 'a' twice"),
    "not UTF-8": (header(keys=key(b"\xff", U32, bytes(40)), key_count=1), "is not UTF-8"),
    "alignment": (header(keys=key(b"general.alignment", U32, b"\x03\0\0\0"), key_count=1), "a power of two"),
    "tensor twice": (header(tensor(b"t", [2]) * 2, 2) + bytes(64), "has tensor 't' twice"),
    "tensor type": (header(tensor(b"t", [32], 77), 1) + bytes(64), "is of type 77, which is unknown"),
    "removed type": (header(tensor(b"t", [32], 26), 1) + bytes(512), "is I32, which cannot be dequantised"),
    "no dimensions": (header(tensor(b"t", []), 1) + bytes(64), "has 0 dimensions"),
    "many dimensions": (header(tensor(b"t", [1] * 9), 1) + bytes(64), "has 9 dimensions"),
    "empty dimension": (header(tensor(b"t", [0, 4]), 1) + bytes(64), "has the shape [4, 0]"),
    "overflowing size": (header(tensor(b"t", [1 << 31, 1 << 31, 1 << 31]), 1) + bytes(64), "the file at"),
    "negative dimension": (header(tensor(b"t", [HUGE]), 1) + bytes(64), "which no model has"),
    "part of a block": (header(tensor(b"t", [33], 2), 1) + bytes(64), "no multiple of Q4_0's 32"),
    "offset": (header(tensor(b"t", [4], 0, HUGE - 4), 1) + bytes(64), "the file at"),
    "overlap": (header(tensor(b"t", [4]) + tensor(b"u", [4]), 2) + bytes(64), "overlaps another"),
}


@pytest.mark.parametrize("lie", LIES)
def test_damaged_and_hostile_files_are_refused_in_one_line(lie: str, tmp_path: Path) -> None:
    content, words = LIES[lie]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        GgufFile(path)
    assert words in str(refusal.value) and "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = write_gguf(make_model(LLAMA), tmp_path / "m.gguf")
    content = path.read_bytes()
    cuts = {*range(0, 400, 7), *range(0, len(content), len(content) // 60), len(content) - 40}
    for size in sorted(cuts):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"ends at byte|more than fit|ends inside|the file at"):
            GgufModel(path)


def test_flipped_bytes_of_a_header_end_in_one_line_or_are_harmless(tmp_path: Path) -> None:
    path = write_gguf(make_model(LLAMA), tmp_path / "m.gguf")
    content, size = path.read_bytes(), GgufModel(path).file.header_bytes
    rng = np.random.default_rng(0)
    for place in rng.integers(0, size, 150).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        try:
            model = GgufModel(path)
            write_tokenizer(model.file, tmp_path)
        except InputError as refusal:
            assert "\n" not in str(refusal)
