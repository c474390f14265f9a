"""Loading agents: weights from safetensors alone, and one line that names the agent when that fails."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from recursivemas.system.errors import InputError
from recursivemas.system.system import Agent, load_system
from recursivemas.training.agents import LoadedAgent, checksum, load_agent
from recursivemas.training.recursion import Opening
from recursivemas.training.rollout import begin
from recursivemas.training.train.inner_loop import embedding_scale
from recursivemas.training.train.outer_loop import answer_loss
from recursivemas.training.train.pairs import mean_embedding

SYSTEM = Path(__file__).parents[2] / "systems/hop-sequential.yaml"


def test_load_agent_refuses_a_checkpoint_of_pickles(tmp_path: Path) -> None:
    planner = load_system(SYSTEM).agents[0]
    folder = Path(shutil.copytree(planner.model, tmp_path / "planner"))
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"agent 'planner': .*is not a readable checkpoint") as caught:
        load_agent(planner.model_copy(update={"model": str(folder)}))
    assert "safetensors" in str(caught.value)


def test_load_agent_names_the_agent_whose_folder_is_missing(tmp_path: Path) -> None:
    planner = load_system(SYSTEM).agents[0].model_copy(update={"model": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match=r"agent 'planner': .*nowhere: no such checkpoint folder"):
        load_agent(planner)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the planner's folder, for another model to be saved into."""
    return Path(shutil.copytree(load_system(SYSTEM).agents[0].model, tmp_path / "other"))


def load_from(folder: Path, **changes: object) -> LoadedAgent:
    planner: Agent = load_system(SYSTEM).agents[0]
    return load_agent(planner.model_copy(update={"model": str(folder), **changes}))


def test_embeddings_hold_the_scale_that_gemma_puts_on_them(checkpoint: Path) -> None:
    size = 64
    config = transformers.Gemma3TextConfig(
        vocab_size=50,
        hidden_size=size,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        eos_token_id=2,
    )
    model = transformers.Gemma3ForCausalLM(config)
    model.save_pretrained(checkpoint)
    agent = load_from(checkpoint)
    weight = agent.model.get_input_embeddings().weight
    scaled = weight * size**0.5
    torch.testing.assert_close(agent.embedding_table, scaled)
    tokens, even = torch.tensor([[5, 7]]), torch.tensor([[0.5, 0.5]])
    torch.testing.assert_close(mean_embedding(agent, tokens, even)[0], (scaled[5] + scaled[7]) / 2)
    torch.testing.assert_close(mean_embedding(agent, tokens[:, :1], even[:, :1])[0], scaled[5])
    assert embedding_scale(agent) == pytest.approx(float(weight.norm(dim=1).mean()), rel=1e-5)
    assert (agent.hidden_size, agent.dtype) == (size, torch.float32)


def test_a_folder_with_an_adapters_configuration_loads_as_the_checkpoint_it_is(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = {"base_model_name_or_path": "owner/base", "peft_type": "LORA", "target_modules": ["q_proj"]}
    (checkpoint / "adapter_config.json").write_text(json.dumps(adapter))
    for module in ("models.auto.auto_factory", "integrations.peft"):
        monkeypatch.setattr(f"transformers.{module}.is_peft_available", lambda: True)
    expected = load_agent(load_system(SYSTEM).agents[0])
    assert checksum(load_from(checkpoint).model) == checksum(expected.model)


CHAT = "{% for m in messages %}<bos>{{ m.content }}<eos>{% endfor %}"


def stopping_at(folder: Path, stops: Any, template: str = CHAT, eos: str = "<eos>", chat: bool = True) -> LoadedAgent:
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(settings | {"eos_token_id": stops}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"eos_token": eos, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return load_from(folder, chat_template=chat)


def test_closing_token_is_the_one_after_an_assistant_turn(checkpoint: Path) -> None:
    ids = load_from(checkpoint).token_ids
    (eos,), (bos,) = ids("<eos>"), ids("<bos>")
    assert bos < eos
    (unk,) = ids("<unk>")
    other, none = CHAT.replace("<eos>", "<unk>"), CHAT.replace("<eos>", "")
    assert stopping_at(checkpoint, [bos, eos], eos="<bos>").closing_token == eos
    assert stopping_at(checkpoint, [bos, eos], eos="<bos>", chat=False).closing_token == bos
    assert stopping_at(checkpoint, [bos, eos], template=other).closing_token == unk
    assert stopping_at(checkpoint, [bos, eos], template=none).closing_token == eos
    assert stopping_at(checkpoint, [eos, bos], template=none, eos="<unk>").closing_token == eos
    assert stopping_at(checkpoint, bos).closing_token == eos
    assert stopping_at(checkpoint, bos, chat=False).closing_token == bos


def test_answer_loss_trains_the_closing_token(checkpoint: Path) -> None:
    (eos,) = load_from(checkpoint).token_ids("<eos>")
    agent = stopping_at(checkpoint, [0, eos])
    hidden, context = begin(agent, [agent.embed(agent.token_ids("a b"))])
    wanted = -agent.model(torch.tensor([agent.token_ids("a b")])).logits[0, -1].log_softmax(-1)[eos]
    torch.testing.assert_close(answer_loss(agent, Opening(1, hidden, context, None), [""]), wanted)


SMALL = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
RECURRENT = {
    "mamba": lambda: transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2)
    ),
    "rwkv": lambda: transformers.RwkvForCausalLM(
        transformers.RwkvConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2)
    ),
    "lfm2": lambda: transformers.Lfm2ForCausalLM(
        transformers.Lfm2Config(**SMALL, **HEADS, layer_types=["conv", "full_attention"])
    ),
}


@pytest.mark.parametrize("family", RECURRENT)
def test_load_agent_refuses_recurrent_state(checkpoint: Path, family: str) -> None:
    RECURRENT[family]().save_pretrained(checkpoint)
    with pytest.raises(InputError, match=rf"agent 'planner': {family} layers .* needs a model with a KV cache alone"):
        load_from(checkpoint)
