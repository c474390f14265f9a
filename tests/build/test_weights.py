"""Conversion writes the same bytes as TVM, the right values, and depends on the checkpoint alone."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from recursivemas.compiler import limits
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.params import ParamSpec
from recursivemas.compiler.weights import ShardWriter, StoredTensor, stored_tensors, weights_nbytes, write_weights
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import GroupQuantizer, find_scheme

QKV = ParamSpec(
    "model.layers.0.self_attn.qkv_proj.weight",
    (60, 70),
    ("q.weight", "k.weight", "v.weight"),
    ((40, 70), (10, 70), (10, 70)),
    quantize=True,
)
NORM = ParamSpec("model.norm.weight", (70,), ("norm.weight",), ((70,),), quantize=False)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    rng = np.random.default_rng(0)
    tensors = {
        source: rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
        for spec in (QKV, NORM)
        for source, shape in zip(spec.sources, spec.source_shapes, strict=True)
    }
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


def load(folder: Path) -> dict[str, np.ndarray]:
    """Reads shards with the help of their records only and checks every md5."""
    found = {}
    for shard in json.loads((folder / "tensor-cache.json").read_text())["records"]:
        data = (folder / shard["dataPath"]).read_bytes()
        assert len(data) == shard["nbytes"]
        assert hashlib.md5(data).hexdigest() == shard["md5sum"]
        for record in shard["records"]:
            piece = data[record["byteOffset"] : record["byteOffset"] + record["nbytes"]]
            found[record["name"]] = np.frombuffer(piece, record["dtype"]).reshape(record["shape"])
    return found


def concatenated(checkpoint: Checkpoint) -> np.ndarray:
    return np.concatenate([block.copy() for source in QKV.sources for block in checkpoint.read(source, 1000)])


@pytest.mark.parametrize("name", ["q4f16_1", "q4f32_1"])
def test_write_weights_quantizes_and_concatenates(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    scheme = find_scheme(name)
    summary = write_weights(checkpoint, [QKV, NORM], scheme, tmp_path)
    stored = load(tmp_path)
    stem = "model.layers.0.self_attn.qkv_proj."
    assert list(stored) == [f"{stem}q_weight", f"{stem}q_scale", NORM.name]
    q_weight, q_scale = GroupQuantizer(scheme.dtype).quantize(concatenated(checkpoint))
    assert stored[f"{stem}q_weight"].tobytes() == q_weight.tobytes()
    assert stored[f"{stem}q_scale"].tobytes() == q_scale.tobytes()
    assert stored[f"{stem}q_scale"].dtype == stored[NORM.name].dtype == scheme.numpy_dtype
    assert summary.tensors == (*stored_tensors(QKV, scheme), *stored_tensors(NORM, scheme))
    assert summary.nbytes == weights_nbytes([QKV, NORM], scheme) == sum(a.nbytes for a in stored.values())
    assert summary.parameters == 60 * 70 + 70


@pytest.mark.parametrize(("name", "row_bytes", "rows"), [("q4f16_1", 48, [20, 20, 20]), ("q0f32", 280, [30, 30])])
def test_table_beyond_the_limit_is_stored_in_parts_with_the_same_rows(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, row_bytes: int, rows: list[int]
) -> None:
    scheme, table = find_scheme(name), replace(QKV, table=True)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    write_weights(checkpoint, [table, NORM], scheme, tmp_path / "whole")
    whole = load(tmp_path / "whole")
    assert list(whole) == [tensor.name for spec in (QKV, NORM) for tensor in stored_tensors(spec, scheme)]
    # Just over the limit, and for the packed one just over twice the limit.
    monkeypatch.setattr(limits, "MAX_PART_BYTES", (60 // (len(rows) - 1) - 1) * row_bytes)
    seen: list[tuple[int, int]] = []
    summary = write_weights(checkpoint, [table, NORM], scheme, tmp_path / "parts", lambda *step: seen.append(step))
    parts = load(tmp_path / "parts")
    assert list(parts) == [tensor.name for tensor in summary.tensors]
    assert [tensor.shape[0] for tensor in stored_tensors(table, scheme) if "scale" not in tensor.name] == rows
    for kind in {each.rpartition(".")[2] for each in whole if each != NORM.name}:
        found = [parts[each] for each in parts if each.endswith(f".{kind}") and ".parts." in each]
        assert max(each.nbytes for each in found) <= limits.MAX_PART_BYTES
        assert np.concatenate(found).tobytes() == next(v for k, v in whole.items() if k.endswith(kind)).tobytes()
    assert parts[NORM.name].tobytes() == whole[NORM.name].tobytes()
    assert summary.nbytes == weights_nbytes([table, NORM], scheme) == sum(each.nbytes for each in whole.values())
    assert seen[-1] == ((60 * 70 + 70) * 2,) * 2


@pytest.mark.parametrize("name", ["q0f16", "q0f32"])
def test_write_weights_casts(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    scheme = find_scheme(name)
    write_weights(checkpoint, [QKV, NORM], scheme, tmp_path)
    stored = load(tmp_path)
    assert list(stored) == [QKV.name, NORM.name]
    assert stored[QKV.name].tobytes() == concatenated(checkpoint).astype(scheme.dtype).tobytes()


def test_write_weights_is_deterministic(checkpoint: Checkpoint, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_weights(checkpoint, [QKV, NORM], find_scheme("q4f16_1"), tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert contents[0] == contents[1]


def test_write_weights_reports_progress_to_the_last_byte(checkpoint: Checkpoint, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_weights(checkpoint, [QKV, NORM], find_scheme("q4f16_1"), tmp_path, lambda *step: seen.append(step))
    total = (60 * 70 + 70) * 2
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_write_weights_names_the_tensor_with_nan(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = checkpoint.folder / "model.safetensors"
    rng = np.random.default_rng(0)
    shapes = zip(QKV.sources + NORM.sources, QKV.source_shapes + NORM.source_shapes, strict=True)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes}
    tensors["k.weight"][3, 5] = np.nan
    save_file(tensors, path)
    for name in ("q4f16_1", "q0f32"):
        with pytest.raises(InputError, match=r"model.safetensors: tensor 'k.weight' holds NaN"):
            write_weights(Checkpoint(checkpoint.folder), [QKV, NORM], find_scheme(name), tmp_path)


def test_shard_writer_equals_tvm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Small tensors, one that starts a new shard, and large ones that get their own shard."""
    tvmjs = pytest.importorskip("tvm.contrib.tvmjs")
    rng = np.random.default_rng(0)
    mebi = 1 << 20
    sizes = [1000, 9 * mebi, 17 * mebi, 9 * mebi, 15 * mebi, 40 * mebi, 3000, 16 * mebi, 31 * mebi]
    dtypes = ["float32", "float16", "uint32"]
    arrays = {
        f"t{i}": np.frombuffer(rng.bytes(size), dtypes[i % 3]).reshape(-1, 4)
        for i, size in enumerate(size // 16 * 16 for size in sizes)
    }
    (tmp_path / "ours").mkdir()
    tvmjs.dump_tensor_cache(
        arrays, str(tmp_path / "tvm"), encode_format="raw", meta_data={"ParamSize": 9}, show_progress=False
    )
    writer = ShardWriter(tmp_path / "ours")
    for name, array in arrays.items():
        writer.add(StoredTensor(name, array.shape, array.dtype.name), np.array_split(array, 3))
    count = writer.finish({"ParamSize": 9})
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "tvm").iterdir()}
    ours = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in theirs)
    assert count == len(theirs) - 1
