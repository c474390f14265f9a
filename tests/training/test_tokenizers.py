"""Agents read tokenizers as transformers does, or are refused."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from recursivemas.system.errors import InputError
from recursivemas.system.system import Agent
from recursivemas.training.agents import load_agent
from recursivemas.training.tasks import hop
from recursivemas.training.tiny.models import AgentSpec, as_llama, build_model, build_tokenizer, save_agent

QWEN = AgentSpec("solver", "qwen2", 40, 64, 2, 2, seed=3, learning_rate=1e-3, head_dim=20)


def agent_of(folder: Path) -> Agent:
    return Agent.model_validate({"id": "a", "role": "a", "model": str(folder), "prompt": "{question}"})


def test_as_llama_computes_what_the_qwen2_model_does() -> None:
    model = build_model(QWEN, 50, 1, 2).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ids = torch.arange(2 * 9).reshape(2, 9)
    expected, found = (each(ids, output_hidden_states=True) for each in (model, as_llama(model)))
    assert torch.equal(expected.logits, found.logits)
    assert all(map(torch.equal, expected.hidden_states, found.hidden_states))


def test_load_agent_reads_as_transformers_does(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(hop.words(), hop.SPECIALS, 3)
    save_agent(tmp_path / "solver", build_model(QWEN, tokenizer.get_vocab_size(), 1, 2), tokenizer, {})
    agent = load_agent(agent_of(tmp_path / "solver"))
    assert agent.model.config.model_type == "llama"
    text = " ".join(hop.words()[:20])
    assert agent.tokenizer(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids
    assert agent.tokenizer.is_fast


def test_load_agent_refuses_what_tokenizer_json_reads_differently(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(hop.words(), hop.SPECIALS, 3)
    folder = tmp_path / "solver"
    save_agent(folder, build_model(QWEN, tokenizer.get_vocab_size(), 1, 2), tokenizer, {})
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"mask_token": "<mask>"}), encoding="utf-8")
    assert transformers.AutoTokenizer.from_pretrained(folder).mask_token == "<mask>"
    with pytest.raises(InputError, match=r"agent 'a': .*transformers reads '<mask>' as \['<mask>'\]"):
        load_agent(agent_of(folder))
