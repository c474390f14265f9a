"""Loading agents: weights from safetensors alone, and one line that names the agent when that fails."""

import shutil
from pathlib import Path

import pytest
import torch

from recursivemas.system.errors import InputError
from recursivemas.system.system import load_system
from recursivemas.training.agents import load_agent

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
