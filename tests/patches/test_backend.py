"""Compares the backend `mlc` with ours and with transformers; needs MLC-LLM."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.random_checkpoint import write_random_checkpoint
from recursivemas.architectures.parity import check_parity, save_random_checkpoint
from recursivemas.architectures.samples import sample_config
from recursivemas.compiler.agent_folder import CompileOptions, compile_agent
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.weights import TENSOR_CACHE
from recursivemas.mlc.importing import Mlc
from recursivemas.system.errors import InputError
from recursivemas.system.hub import resolve_model
from recursivemas.system.quantize import SCHEMES

pytest.importorskip("transformers", reason="transformers is not installed")

TINY = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
SHARED = ("llama", "mistral", "qwen2", "qwen3")
COMPARED = (
    "cohere",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_bigcode",
    "gpt_neox",
    "gptj",
    "llama",
    "ministral3",
)
COMPARED += ("mistral", "nemotron", "olmo", "olmo2", "phi", "phi3", "qwen2", "qwen3", "stablelm", "starcoder2")


def _checkpoint(architecture: str, folder: Path) -> Checkpoint:
    config = sample_config(architecture)
    assert config is not None
    save_random_checkpoint(config, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return Checkpoint(folder)


def _written(checkpoint: Checkpoint, scheme: str, backend: str, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    prepare(checkpoint, SCHEMES[scheme], backend).write_weights(folder, lambda done, total: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("architecture", SHARED)
@pytest.mark.parametrize("scheme", ["q4f16_1", "q4f32_1"])
def test_both_backends_write_the_same_bytes(mlc: Mlc, architecture: str, scheme: str, tmp_path: Path) -> None:
    checkpoint = _checkpoint(architecture, tmp_path / "checkpoint")
    ours = _written(checkpoint, scheme, "relax", tmp_path / "relax")
    theirs = _written(checkpoint, scheme, "mlc", tmp_path / "mlc")
    assert TENSOR_CACHE in ours
    assert ours == theirs


@pytest.mark.parametrize("architecture", SHARED)
def test_both_backends_know_the_same_dimensions(mlc: Mlc, architecture: str, tmp_path: Path) -> None:
    checkpoint = _checkpoint(architecture, tmp_path)
    ours, theirs = (
        prepare(checkpoint, SCHEMES["q4f16_1"], backend, context_window_size=50, prefill_chunk_size=20).facts
        for backend in ("relax", "mlc")
    )
    assert (ours.backend, theirs.backend) == ("relax", "mlc")
    same = {"backend": "", "model_config": {}}
    assert dataclasses.replace(ours, **same) == dataclasses.replace(theirs, **same)  # type: ignore[arg-type]


def test_agent_says_which_mlc_llm_defined_it(mlc: Mlc, tmp_path: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **TINY}
    write_random_checkpoint(tmp_path / "checkpoint", config)
    options = CompileOptions("q4f32_1", "mlc")
    agent = compile_agent(resolve_model(str(tmp_path / "checkpoint")), tmp_path / "agent", options)
    assert agent.ours["backend"] == "mlc"
    assert agent.ours["versions"]["mlc-llm"] == mlc.version


@pytest.mark.slow
@pytest.mark.parametrize("architecture", COMPARED)
def test_hidden_states_and_logits_equal_transformers(mlc: Mlc, architecture: str) -> None:
    config = sample_config(architecture)
    assert config is not None
    parity = check_parity(mlc, config)
    assert parity.embed <= 1e-4
    assert parity.hidden <= 1e-4
    assert parity.logits <= 1e-4


def test_prepare_refuses_a_model_that_mlc_llm_does_not_have(mlc: Mlc, tmp_path: Path) -> None:
    checkpoint = _checkpoint("llama", tmp_path)
    checkpoint.config["model_type"] = "nothing_known"
    with pytest.raises(InputError, match="'nothing_known': not one of MLC-LLM's language models"):
        prepare(checkpoint, SCHEMES["q0f32"], "mlc")


def test_prepare_keeps_the_context_within_the_sliding_window(mlc: Mlc, tmp_path: Path) -> None:
    checkpoint = _checkpoint("gemma3_text", tmp_path)
    window = checkpoint.config["sliding_window"]
    facts: Any = prepare(checkpoint, SCHEMES["q0f32"], "mlc").facts
    assert (facts.context_window_size, facts.backend, facts.architecture) == (window, "mlc", "gemma3_text")
    with pytest.raises(InputError, match=f"a context window of 1 to {window} tokens was expected, got {window + 1}"):
        prepare(checkpoint, SCHEMES["q0f32"], "mlc", context_window_size=window + 1)
