"""`rmas compile` from end to end: it lays out an agent folder, and bad input leaves nothing behind."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import recursivemas
from harness.random_checkpoint import CHATML, write_random_checkpoint
from recursivemas.cli.app import app
from recursivemas.compiler import library
from recursivemas.compiler.agent_folder import CompileOptions, compile_agent, read_agent_folder
from recursivemas.compiler.library_metadata import read_library_metadata
from recursivemas.compiler.relax_backend import RelaxModel
from recursivemas.system.errors import InputError
from recursivemas.system.hub import resolve_model

CONFIG = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 261,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
}
OPTIONS = CompileOptions("q4f32_1", backend="relax")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-model"
    write_random_checkpoint(folder, CONFIG, dtype="float32")
    (folder / "LICENSE").write_text("Apache-2.0")
    return folder


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiles a checkpoint with the command and a context shorter than the checkpoint's."""
    root = tmp_path_factory.mktemp("compiled")
    write_random_checkpoint(root / "tiny model", CONFIG)
    (root / "tiny model" / "LICENSE").write_text("Apache-2.0")
    arguments = ["compile", root / "tiny model", "--quantization", "q4f32_1", "--out", root / "out" / "agent"]
    result = rmas(*arguments, "--context-window", 48, "--prefill-chunk", 16)
    assert result.returncode == 0, result.stderr
    return root / "out" / "agent"


def rmas(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recursivemas.cli.app", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def test_compile_writes_the_layout(agent: Path) -> None:
    assert sorted(path.name for path in agent.iterdir()) == [
        "LICENSE",
        "mlc-chat-config.json",
        "params_shard_0.bin",
        "tensor-cache.json",
        "tiny-model-q4f32_1-webgpu.wasm",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in agent.parent.iterdir()] == ["agent"]


def test_compile_adds_a_library_with_subgroups(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    result = rmas("compile", checkpoint, "-q", "q4f32_1", "--out", out, "--subgroup-size", 32)
    assert result.returncode == 0, result.stderr
    folder = read_agent_folder(out)
    second = {"model_lib": "tiny-model-q4f32_1-webgpu-subgroups.wasm", "subgroup_size": 32}
    assert (folder.model_lib, folder.subgroup_lib) == ("tiny-model-q4f32_1-webgpu.wasm", second)
    base, subgroups = (read_library_metadata(out / name) for name in (folder.model_lib, str(second["model_lib"])))
    assert subgroups["recursivemas"].pop("subgroup_size") == 32
    for each in (base, subgroups):
        assert each["recursivemas"].pop("required_limits")["maxComputeWorkgroupStorageSize"] <= 16 << 10
    assert subgroups == base
    (out / str(second["model_lib"])).unlink()
    with pytest.raises(InputError, match=r"expected exactly .* and .* as its .wasm, found"):
        read_agent_folder(out)


@pytest.mark.parametrize("small", [True, False])
def test_small_libraries_are_linked_for_their_size(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    levels, link = [], library.link_library

    def quickly(executable: Any, out: Path, runtime: Any, optimise: Any) -> None:
        levels.append(optimise)
        link(executable, out, runtime, 0)

    monkeypatch.setattr(library, "link_library", quickly)
    options = dataclasses.replace(OPTIONS, subgroup_size=32, small_libraries=small)
    folder = compile_agent(resolve_model(str(checkpoint)), tmp_path / "agent", options)
    assert levels == [library.SMALLEST if small else 1] * 2
    assert folder.small_libraries == small
    assert ("small_libraries" in folder.ours) == small


def test_commands_ask_for_small_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("compile", "build"):
        monkeypatch.setattr(recursivemas, name, lambda *_, **options: asked.append(options))
    for command in (["compile", "m", "-q", "q0f32"], ["build", "s.yaml", "--links", "l.json"]):
        for extra in ([], ["--small-libraries"]):
            CliRunner().invoke(app, [*command, "--out", str(tmp_path), *extra])
    assert [options["small_libraries"] for options in asked] == [False, True, False, True]


def test_compile_refuses_subgroups_of_a_size_that_no_gpu_has(checkpoint: Path, tmp_path: Path) -> None:
    result = rmas("compile", checkpoint, "-q", "q4f32_1", "--out", tmp_path / "agent", "--subgroup-size", 24)
    assert result.returncode == 1
    assert result.stderr.strip() == "rmas: subgroup size 24: expected one of 4, 8, 16, 32, 64, 128"
    assert not (tmp_path / "agent").exists()


def test_compile_writes_the_config_that_webllm_reads(agent: Path) -> None:
    config = json.loads((agent / "mlc-chat-config.json").read_text())
    expected = {
        "model_type": "qwen2",
        "quantization": "q4f32_1",
        "vocab_size": 261,
        "active_vocab_size": 259,
        "context_window_size": 48,
        "sliding_window_size": -1,
        "attention_sink_size": -1,
        "prefill_chunk_size": 16,
        "tokenizer_files": ["tokenizer.json", "tokenizer_config.json"],
        "eos_token_id": 258,
        "temperature": 1.0,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["conv_template"]["stop_token_ids"] == [258]
    assert config["conv_template"]["roles"]["user"] == "<|im_start|>user\n"
    ours = config["recursivemas"]
    assert ours["chat_template"] == CHATML
    assert all(ours["conv_template_exact"].values())
    assert (ours["hidden_size"], ours["num_hidden_layers"], ours["dtype"]) == (48, 1, "float32")
    assert ours["weights_bytes"] == (agent / "params_shard_0.bin").stat().st_size
    assert ours["memory_bytes"] >= ours["weights_bytes"] + 2 * 24 * 48 * 4
    assert ours["required_features"] == []


def test_library_asks_for_exactly_the_stored_tensors(agent: Path) -> None:
    folder = read_agent_folder(agent)
    metadata = read_library_metadata(agent / folder.model_lib)
    shards = json.loads((agent / "tensor-cache.json").read_text())["records"]
    stored = [(r["name"], r["shape"], r["dtype"]) for shard in shards for r in shard["records"]]
    assert [(p["name"], p["shape"], p["dtype"]) for p in metadata["params"]] == stored
    assert (metadata["context_window_size"], metadata["prefill_chunk_size"]) == (48, 16)
    assert metadata["recursivemas"]["abi"] == folder.ours["abi"] == 1


def test_read_agent_folder_refuses_others(agent: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such agent configuration"):
        read_agent_folder(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(agent, copy)
    (copy / "second.wasm").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected exactly tiny-model-q4f32_1-webgpu.wasm as its .wasm, found \["):
        read_agent_folder(copy)
    (copy / "mlc-chat-config.json").write_text("{}")
    with pytest.raises(InputError, match="not an agent folder of this version"):
        read_agent_folder(copy)


def test_compile_on_the_command_line_fails_in_one_line(checkpoint: Path) -> None:
    change_tensor("model.norm.weight", lambda t: t * np.nan)(checkpoint)
    out = checkpoint.parent / "new" / "agent"
    result = rmas("compile", checkpoint, "-q", "q4f32_1", "-o", out)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith("model.safetensors: tensor 'model.norm.weight' holds NaN")
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_compile_of_a_hub_id_offline_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    result = rmas("compile", "Qwen/Qwen2.5-0.5B-Instruct", "-q", "q4f16_1", "-o", tmp_path / "out" / "agent")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "the Hugging Face hub cannot be reached (offline?)" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def change_tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        changed = change(tensors.pop(name))
        save_file(tensors if changed is None else tensors | {name: changed}, folder / "model.safetensors")

    return apply


def change_config(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG | changes))

    return apply


def add_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"model.layers.0.self_attn.o_proj.bias": np.zeros(48, np.float32)}, path)


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(b"x")

    return apply


Q = "model.layers.0.self_attn.q_proj.weight"
BAD_CHECKPOINTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing tensor": (change_tensor(Q, lambda t: None), r"is missing that config.json asks for"),
    "wrong shape": (
        change_tensor(Q, lambda t: t[:24].copy()),
        r"has shape \[24, 48\], config.json asks for \[48, 48\]",
    ),
    "extra tensor": (add_tensor, r"'model.layers.0.self_attn.o_proj.bias' is present"),
    "NaN": (change_tensor(Q, lambda t: np.full_like(t, np.nan)), r"q_proj.weight' holds NaN"),
    "infinity": (change_tensor(Q, lambda t: np.full_like(t, np.inf)), r"q_proj.weight' holds infinity"),
    "truncated": (truncate, r"not a whole safetensors file"),
    "pickle only": (only("pytorch_model.bin"), r"only pickled weights \(pytorch_model.bin\)"),
    "GGUF": (only("model.Q4_K_M.gguf"), r"the weights are in a GGUF file; name the file instead of the folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"config.json: no such file"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer.json: no such tokenizer"),
    "unknown architecture": (change_config(model_type="mamba"), r"tiny-model: .*'mamba' is not implemented"),
    "smaller vocabulary": (change_config(vocab_size=250), r"has shape \[261, 48\], config.json asks for \[250, 48\]"),
    "broken generation config": (
        lambda folder: (folder / "generation_config.json").write_text("{"),
        r"generation_config.json: not valid JSON",
    ),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_compile_leaves_nothing_of_a_bad_checkpoint(checkpoint: Path, kind: str) -> None:
    change, message = BAD_CHECKPOINTS[kind]
    change(checkpoint)
    with pytest.raises(InputError, match=message) as caught:
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent / "new" / "agent", OPTIONS)
    assert "\n" not in str(caught.value)
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CompileOptions("q3f16_1"), "unknown quantization 'q3f16_1'"),
        (CompileOptions("q4f32_1", backend="onnx"), "unknown backend 'onnx'; choose one of auto, relax, mlc"),
        (CompileOptions("q4f32_1", context_window_size=1000), "context window of 1 to 64 tokens was expected"),
        (CompileOptions("q4f32_1", prefill_chunk_size=65), "prefill chunk of 1 to 64 tokens was expected"),
    ],
)
def test_compile_refuses_options(checkpoint: Path, options: CompileOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent / "agent", options)
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_compile_refuses_float16_of_larger_weights(checkpoint: Path) -> None:
    change_tensor(Q, lambda t: t + 70000)(checkpoint)
    with pytest.raises(InputError, match=r"q_proj.weight' holds 70000.*beyond float16's 65504 .*q4f32_1 or q0f32"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent / "agent", CompileOptions("q4f16_1"))
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_compile_refuses_to_replace_other_folders(checkpoint: Path) -> None:
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with pytest.raises(InputError, match="exists and is not an agent folder"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint, OPTIONS)
    with pytest.raises(InputError, match="exists and is not an agent folder"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent, OPTIONS)
    with pytest.raises(InputError, match="is a file"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint / "config.json", OPTIONS)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_compile_asks_for_room_before_it_writes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(checkpoint)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(InputError, match=r"needs 17 MB, but that disk has only 1 MB free"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent / "new" / "agent", OPTIONS)
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_compile_looks_for_emscripten_before_it_converts(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkpoint))
    monkeypatch.setattr(RelaxModel, "write_weights", lambda *_: pytest.fail("weights were converted first"))
    with pytest.raises(InputError, match=r"emscripten .* is not on the PATH"):
        compile_agent(resolve_model(str(checkpoint)), checkpoint.parent / "agent", OPTIONS)
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_compile_command_looks_for_emscripten_before_it_downloads(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recursivemas.cli.app", "compile", "owner/model", "-q", "q4f32_1", "-o", "out"]
    environment = {**os.environ, "PATH": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("rmas: emscripten (emcc 3.1.6 or newer) is not on the PATH")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
        (RuntimeError("emcc: link failed"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_compile_keeps_the_earlier_agent_when_it_fails(
    checkpoint: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, becomes: type[BaseException]
) -> None:
    out = checkpoint.parent / "agent"
    shutil.copytree(agent, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(self: RelaxModel, library: Path, progress: object, **_: object) -> None:
        library.write_bytes(b"half")
        raise error

    monkeypatch.setattr(RelaxModel, "compile_library", fail)
    with pytest.raises(becomes):
        compile_agent(resolve_model(str(checkpoint)), out, OPTIONS)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert {path.name for path in checkpoint.parent.iterdir()} == {checkpoint.name, "agent"}


def test_compile_interrupted_from_the_keyboard_leaves_nothing(checkpoint: Path) -> None:
    out = checkpoint.parent / "new" / "agent"
    command = [sys.executable, "-m", "recursivemas.cli.app", "compile", checkpoint, "-q", "q4f32_1", "-o", out]
    # A process that a shell starts in the background ignores Ctrl-C, and so would its children here.
    attend = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, preexec_fn=attend)
    while process.poll() is None and not list(checkpoint.parent.glob("new/.agent.partial-*/tensor-cache.json")):
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be interrupted"
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=600) != 0
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
