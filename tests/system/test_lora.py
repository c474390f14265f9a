"""Adapters: merged weights against peft's, in numpy and in the PyTorch reference; what cannot be merged is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file, save_file

from harness.gguf_files import write_gguf
from harness.tiny_models import Case, make_model, save
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef, checkpoint_of
from recursivemas.system.lora import CONFIG, WEIGHTS, read_adapter
from recursivemas.system.system import Agent
from recursivemas.training.agents import load_agent, merge_adapter
from tests.system.test_gguf import shape

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 7, "target_modules": ALL},
    "rslora": {"r": 6, "lora_alpha": 5, "use_rslora": True, "target_modules": r".*layers\.1\..*_proj"},
    "patterns": {
        "r": 4,
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 8, r"layers\.1\.mlp\..*": 2},
        "alpha_pattern": {"k_proj": 3, "model.layers.0.self_attn.q_proj": 32},
    },
    "fan_in_fan_out": {"r": 3, "fan_in_fan_out": True, "target_modules": ["o_proj", "down_proj"]},
    "tables": {
        "r": 4,
        "target_modules": ["embed_tokens", "lm_head", "v_proj"],
        "exclude_modules": ["layers.0.self_attn.v_proj"],
    },
}
UNTIED = Case("llama", "LlamaForCausalLM", shape(tie_word_embeddings=False), 1)


def trained(case: Case, folder: Path, **options: Any) -> Any:
    """Saves a model and an adapter with random weights; returns the pair as peft has them."""
    model = make_model(case)
    save(model, folder / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options))
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return adapted


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained(UNTIED, tmp_path, **KINDS["plain"])
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_equal_those_of_peft(kind: str, tmp_path: Path) -> None:
    expected = trained(UNTIED, tmp_path, **KINDS[kind]).merge_and_unload().state_dict()
    adapter = read_adapter(tmp_path / "adapter")
    checkpoint = Checkpoint(tmp_path / "base", adapter=adapter)
    base = load_file(tmp_path / "base/model.safetensors")
    for name, tensor in expected.items():
        blocks = [rows.copy() for rows in checkpoint.read(name, 1000)]
        merged = np.concatenate(blocks)
        np.testing.assert_allclose(merged, tensor.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
        assert np.array_equal(merged, base[name]) == (name not in adapter.modules), name
        assert sum(rows.nbytes for rows in blocks) == checkpoint.nbytes(name)
    reference = make_model(UNTIED)
    merge_adapter(reference, adapter)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6, msg=name)


def test_an_adapter_in_half_precision_merges_into_a_gguf_file_as_peft_does(tmp_path: Path) -> None:
    case = Case("llama", "LlamaForCausalLM", shape(tie_word_embeddings=True), 1)
    trained(case, tmp_path, **KINDS["plain"])
    path = tmp_path / "adapter" / WEIGHTS
    save_file({name: tensor.astype(np.float16) for name, tensor in load_file(path).items()}, path)
    ours = write_gguf(make_model(case), tmp_path / "m.gguf")
    agent = Agent(id="a", role="a", model=str(ours), adapter=str(tmp_path / "adapter"), prompt="{question}")
    loaded = load_agent(agent)
    resolved = checkpoint_of(agent).resolve()
    checkpoint = Checkpoint.of(resolved)
    expected = peft.PeftModel.from_pretrained(make_model(case), tmp_path / "adapter").merge_and_unload().state_dict()
    for name in checkpoint.tensors:
        merged = np.concatenate([rows.copy() for rows in checkpoint.read(name, 1000)])
        np.testing.assert_allclose(merged, expected[name].numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(loaded.model.state_dict()[name].numpy(), merged, rtol=1e-6, atol=1e-6, err_msg=name)


def test_agents_of_one_model_and_adapter_share_a_checkpoint(saved: Path) -> None:
    agent = Agent(id="a", role="a", model=str(saved / "base"), adapter=str(saved / "adapter"), prompt="{question}")
    same = agent.model_copy(update={"id": "b", "role": "b", "prompt": "x {question}"})
    assert checkpoint_of(agent) == checkpoint_of(same)
    assert checkpoint_of(agent) != checkpoint_of(agent.model_copy(update={"adapter": None}))
    resolved = checkpoint_of(agent).resolve()
    assert resolved.adapter is not None
    record = resolved.adapter.record
    assert (record["adapter"], record["revision"]) == ("adapter", None)
    config = saved / "adapter" / CONFIG
    config.write_text(config.read_text("utf-8").replace('"lora_alpha": 7', '"lora_alpha": 9'), "utf-8")
    changed = checkpoint_of(agent).resolve().adapter
    assert changed is not None and changed.sha256 != record["sha256"]


def test_full_weights_beside_the_configuration_of_an_adapter_are_a_full_model(saved: Path) -> None:
    (saved / "base" / CONFIG).write_bytes((saved / "adapter" / CONFIG).read_bytes())
    expected = load_file(saved / "base/model.safetensors")
    resolved = CheckpointRef(str(saved / "base")).resolve()
    assert resolved.adapter is None and set(Checkpoint.of(resolved).tensors) == set(expected)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "other kinds": ({"peft_type": "IA3"}, "peft_type 'IA3' cannot be merged"),
    "dora": ({"use_dora": True}, "use_dora is True"),
    "bias": ({"bias": "lora_only"}, "bias 'lora_only' is not supported"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base's weights"),
    "replication": ({"layer_replication": [[0, 2]]}, "layer_replication is [[0, 2]]"),
    "a new feature": ({"sideways_lora": 1}, "sideways_lora is 1"),
    "rank": ({"r": 5}, "which are not of rank 5"),
    "rank of nothing": ({"r": 0}, "r: a positive number was expected, got 0"),
    "targets": ({"target_modules": ["q_proj"]}, "none of the target_modules"),
    "patterns": ({"rank_pattern": [1]}, "rank_pattern: an object was expected"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_peft_merges_otherwise_is_refused_by_name(kind: str, saved: Path) -> None:
    changes, words = CHANGES[kind]
    path = saved / "adapter" / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    with pytest.raises(InputError) as refusal:
        read_adapter(saved / "adapter")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_damaged_adapters_and_other_bases_are_refused(saved: Path) -> None:
    path = saved / "adapter" / WEIGHTS
    tensors, good = load_file(path), path.read_bytes()
    other = Case("llama", "LlamaForCausalLM", shape(hidden_size=32, tie_word_embeddings=False), 1)
    save(make_model(other), saved / "other")
    with pytest.raises(InputError, match=r"of shape .* the model's has .*another base"):
        Checkpoint(saved / "other", adapter=read_adapter(saved / "adapter"))
    name = next(iter(tensors))
    cases = {
        "is no part of a plain LoRA adapter": {**tensors, "base_model.model.lm_head.weight": tensors[name]},
        "has only one of lora_A and lora_B": {key: value for key, value in tensors.items() if key != name},
        "holds NaN or infinity": {**tensors, name: tensors[name] * np.nan},
        "changes nothing": {},
    }
    for words, content in cases.items():
        save_file(content, path)
        with pytest.raises(InputError, match=words):
            read_adapter(saved / "adapter")
    path.write_bytes(good[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_adapter(saved / "adapter")
    path.rename(path.with_name("adapter_model.bin"))
    with pytest.raises(InputError, match="can run code when read"):
        read_adapter(saved / "adapter")
    with pytest.raises(InputError, match="name its base as the model and this folder as the adapter"):
        path.write_bytes(good)
        (saved / "adapter/config.json").write_text("{}", "utf-8")
        Checkpoint(saved / "adapter")


def test_tied_tables_are_not_changed(tmp_path: Path) -> None:
    tied = Case("llama", "LlamaForCausalLM", shape(tie_word_embeddings=True), 1)
    with pytest.warns(UserWarning, match="tie"):
        trained(tied, tmp_path, r=4, target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(InputError, match="one table for input and output"):
        Checkpoint(tmp_path / "base", adapter=read_adapter(tmp_path / "adapter"))
