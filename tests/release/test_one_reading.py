"""The page and the reference read the same stop tokens and prompts out of one checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import AgentFolder
from recursivemas.compiler.agents import BuiltAgent
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.chat_config import chat_config
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.tokenizer import read_tokenizer
from recursivemas.release.package import _agent_record
from recursivemas.system.chat_template import Wrap
from recursivemas.system.manifest import AgentRecord, Sampling
from recursivemas.system.quantize import find_scheme
from recursivemas.system.system import Agent
from recursivemas.training.agents import load_agent
from tests.build.test_chat_config import CONFIG
from tests.system.made_templates import EQUAL

END, START, TURN = 256, 257, 258  # <|endoftext|>, <|im_start|>, <|im_end|>


def edit(path: Path, changes: dict[str, Any]) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "template", "chat", "expected"),
    [
        ({"eos_token_id": [9, END]}, {"eos_token_id": 7}, "<|im_end|>", "chatml", True, {9, END, TURN}),
        ({"eos_token_id": [9, END]}, {"eos_token_id": 7}, "<|im_end|>", "chatml", False, {9, END}),
        ({"eos_token_id": None}, {"eos_token_id": 7}, "<|im_end|>", "chatml", True, {7, TURN}),
        (None, {"eos_token_id": [7, 8]}, "<|im_end|>", "chatml", False, {7, 8}),
        (None, {}, "<|endoftext|>", "chatml", True, {END, TURN}),
        (None, {}, "<|endoftext|>", "chatml", False, {END}),
        (None, {}, "<|endoftext|>", "zephyr", True, {END}),
        (None, {}, "<|endoftext|>", "glm", True, {END}),
        (None, {}, None, "tools are none", True, set()),
        (None, {"eos_token_id": 0}, "<|im_end|>", "llama3", True, {0}),
    ],
)
def test_page_and_reference_stop_at_the_same_tokens(
    generation: Any, config: Any, tokenizer: str | None, template: str, chat: bool, expected: set[int], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    write_random_checkpoint(folder, CONFIG | config, dtype="float32")
    edit(folder / "tokenizer_config.json", {"eos_token": tokenizer, "chat_template": EQUAL[template]})
    if generation is not None:
        edit(folder / "generation_config.json", generation)
    agent = Agent(id="a", role="a", model=str(folder), chat_template=chat, prompt=" {question}")
    checkpoint = Checkpoint(folder)
    scheme = find_scheme("q0f32")
    facts = prepare(checkpoint, scheme, "relax").facts
    written = chat_config(checkpoint, facts, scheme, read_tokenizer(folder, facts.vocab_size))
    ours = {"model": "m", "dtype": "float32", "hidden_size": 32, "num_hidden_layers": 1, "memory_bytes": 1}
    written["recursivemas"] |= ours
    record = recorded(agent, folder, written)
    loaded = load_agent(agent)
    assert set(record.stop_token_ids) == loaded.stop_tokens == expected
    wrap = loaded.wraps["prompt"]
    assert (record.prompt.prefix, record.prompt.suffix, record.prompt.trim) == (wrap.prefix, wrap.suffix, wrap.trim)
    del written["recursivemas"]["special_tokens"]  # as 0.1.0 wrote it
    assert recorded(agent, folder, written) == record


def test_page_and_reference_read_the_same_of_an_agent_with_a_system_message(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write_random_checkpoint(folder, CONFIG, dtype="float32")
    edit(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "chat_template": EQUAL["gemma"]})
    sampling = {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
    edit(folder / "generation_config.json", {"eos_token_id": [9, END], **sampling})
    agent = Agent(
        id="a", role="a", model=str(folder), chat_template=True, prompt=" {question}", system=" Be brief.",
        first_round_system="Begin.", stop="eos_token",
    )  # fmt: skip
    checkpoint = Checkpoint(folder)
    scheme = find_scheme("q0f32")
    facts = prepare(checkpoint, scheme, "relax").facts
    written = chat_config(checkpoint, facts, scheme, read_tokenizer(folder, facts.vocab_size))
    written["recursivemas"] |= {
        "model": "m", "dtype": "float32", "hidden_size": 32, "num_hidden_layers": 1, "memory_bytes": 1
    }  # fmt: skip
    record = recorded(agent, folder, written)
    loaded = load_agent(agent)
    assert record.stop_token_ids == loaded.stop_list == (END,)
    assert record.sampling == loaded.sampling == Sampling(temperature=0.6, top_k=20, repetition_penalty=1.05)
    assert (record.prompt.prefix, record.prompt.trim) == ("<start_of_turn>user\nBe brief.\n\n", "end")
    assert record.first_round_prompt is not None
    for key, prompt in (("prompt", record.prompt), ("first_round_prompt", record.first_round_prompt)):
        assert Wrap(prompt.prefix, prompt.suffix, prompt.trim) == loaded.wraps[key]


def recorded(agent: Agent, folder: Path, config: Any) -> AgentRecord:
    compiled = AgentFolder(folder, "a.wasm", json.loads(json.dumps(config)))
    return _agent_record(agent, BuiltAgent(compiled, "agents/a"))
