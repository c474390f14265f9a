"""Loading agents: weights from safetensors alone, and one line that names the agent when that fails."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers

from recursivemas.system.errors import InputError
from recursivemas.system.system import Agent, load_system
from recursivemas.training.agents import LoadedAgent, load_agent
from recursivemas.training.inner_loop import embedding_scale
from recursivemas.training.pairs import mean_embedding

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
