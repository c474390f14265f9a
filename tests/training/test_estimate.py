"""Memory and time of a training step, estimated from configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from typer.testing import CliRunner

from bench.released_sizes import MODELS
from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.system import System, load_system
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink
from recursivemas.training.rollout import begin, extend, think
from recursivemas.training.train import estimate as estimates
from recursivemas.training.train.estimate import GPUS, Lengths, estimate, find_gpu, lengths_of, propose
from tests.training.conftest import MakeSystem

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "tests" / "fixtures" / "published_configs.json").read_text(encoding="utf-8"))
_LLAMA_3B = {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "head_dim": 128}
SHAPES: dict[str, dict[str, Any]] = {
    **PUBLISHED,
    **MODELS,
    "Llama-3.2-3B": {**PUBLISHED["Llama-3.2-1B"], **_LLAMA_3B},
}
SYSTEMS = {
    "sequential-light": ["Qwen3-1.7B", "Llama-3.2-1B", "Qwen2.5-Math-1.5B"],
    "sequential-scaled": ["Gemma3-4B", "Llama-3.2-3B", "Qwen3.5-4B"],
    "mixture": ["DeepSeek-R1-Distill-Qwen-1.5B", "Qwen2.5-Coder-3B", "BioMistral-7B", "Qwen3.5-2B"],
    "deliberation": ["Qwen3.5-4B", "Qwen3.5-4B"],
    "distillation": ["Qwen3.5-9B", "Qwen3.5-4B"],
}
"""The base checkpoints of the published systems' agents, in order."""
QUICK = "sequential-light"
GPUS_OF_THE_TABLE = ("RTX-4090", "A100-80GB", "H200")


def config(name: str) -> Any:
    values = dict(SHAPES[name])
    return transformers.AutoConfig.for_model(values.pop("model_type"), **values)


def measured_bytes(agent: LoadedAgent, lengths: Lengths) -> int:
    """What autograd really keeps of a turn."""
    kept: dict[int, int] = {}
    own = {each.untyped_storage().data_ptr() for each in (*agent.model.parameters(), *agent.model.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    link, size = InnerLink(agent.hidden_size, agent.hidden_size), agent.hidden_size
    own |= {each.untyped_storage().data_ptr() for each in link.parameters()}
    with torch.no_grad():
        _, read = begin(agent, [torch.randn(lengths.prefix, size)])
    rest = torch.randn(1, lengths.rest, size, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        context = read.fork(lengths.rest + lengths.steps)
        think(agent, link, extend(agent, context, rest)[:, -1], context, lengths.steps)
    return sum(count for address, count in kept.items() if address not in own)


@pytest.mark.parametrize("name", ["planner", "critic"])
def test_kept_bytes_are_those_that_autograd_keeps(
    agents: dict[str, LoadedAgent], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, lengths = agents[name], Lengths(prefix=40, rest=9, steps=7)
    expected = measured_bytes(agent, lengths)
    monkeypatch.setattr(estimates, "DTYPE", torch.float32)
    meta = estimates.meta_agent(agent.agent, transformers.AutoConfig.from_pretrained(agent.folder))
    assert estimates.kept_bytes(meta, lengths) == pytest.approx(expected, rel=0.1)


def test_lengths_are_those_of_the_prompt_from_its_first_slot_on(make_system: MakeSystem) -> None:
    system = make_system("mixture")
    found = lengths_of(system, system.agents[-1], question_tokens=50)
    assert found == Lengths(prefix=3 + 50 + 1, rest=3 + 1 + 3 + 1, steps=3)  # "<bos> plan ", the question, " "


@pytest.fixture(scope="module")
def light() -> tuple[System, estimates.Estimate]:
    return estimated(QUICK)


def estimated(name: str) -> tuple[System, estimates.Estimate]:
    system = load_system(ROOT / "systems" / f"{name}.yaml")
    return system, estimate(
        system, {agent.id: config(shape) for agent, shape in zip(system.agents, SYSTEMS[name], strict=True)}
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == QUICK else [pytest.mark.slow]) for name in SYSTEMS]
)
def test_table_of_the_published_systems_is_what_the_command_says(
    name: str, light: tuple[System, estimates.Estimate]
) -> None:
    _, found = light if name == QUICK else estimated(name)
    cells = []
    for gpu in GPUS_OF_THE_TABLE:
        chosen = propose(found, find_gpu(gpu), questions=16)
        checkpointing = ", checkpointing" if chosen.checkpointing else ""
        seconds = f"{chosen.seconds:.2g}".removeprefix("0")
        fits = f"batch {chosen.batch_size}{checkpointing}: {chosen.memory_bytes / estimates.GIB:.1f} GiB, {seconds} s"
        cells.append(fits if chosen.batch_size else "does not fit")
    line = f"| `{name}` | {' | '.join(cells)} |"
    assert line in (ROOT / "docs/training.md").read_text(encoding="utf-8").splitlines()


def test_table_has_every_published_system() -> None:
    table = (ROOT / "docs/training.md").read_text(encoding="utf-8").partition("| system (16 questions a step)")[2]
    shown = [line.split("`")[1] for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    assert shown == list(SYSTEMS)


def test_light_system_fits_a_large_gpu_and_with_checkpointing_a_small_one(
    light: tuple[System, estimates.Estimate],
) -> None:
    _, found = light
    parameters = 1.72e9 + 1.24e9 + 1.54e9  # as their model cards say
    assert found.weights_bytes == pytest.approx(2 * parameters, rel=0.02)
    large, small = (propose(found, find_gpu(name), questions=16) for name in ("h100", "L4"))
    assert (large.batch_size, large.gradient_accumulation, large.checkpointing) == (16, 1, False)
    assert small.batch_size * small.gradient_accumulation == 16
    assert small.seconds > large.seconds > 0
    for gpu in GPUS:
        chosen = propose(found, gpu, questions=16)
        assert chosen.memory_bytes <= gpu.memory_gib * estimates.GIB
    assert propose(found, estimates.Gpu("toy", 8, 100, 10), questions=16).batch_size == 0
    assert found.memory(4, checkpointing=True) < found.memory(4, checkpointing=False)


def test_unknown_gpus_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="expected one of T4, L4"):
        find_gpu("voodoo")


def test_dry_run_needs_neither_weights_nor_a_folder(make_system: MakeSystem, tmp_path: Path, checkpoints: Path) -> None:
    data = make_system("sequential").model_dump(mode="json", by_alias=True, exclude={"edges"})
    for agent in data["agents"]:
        bare = tmp_path / agent["id"]
        bare.mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (bare / name).write_bytes((checkpoints / agent["id"] / name).read_bytes())
        agent["model"] = str(bare)
    path = tmp_path / "system.yaml"
    path.write_text(yaml.safe_dump(data))
    shown = CliRunner().invoke(app, ["train", str(path), "--dry-run", "--gpu", "t4"])
    assert shown.exit_code == 0, shown.output
    assert "64 questions a step, 2 rounds" in shown.output and "T4" in shown.output and "H100" not in shown.output
    refused = CliRunner().invoke(app, ["train", str(path)])
    assert isinstance(refused.exception, InputError) and "--out" in str(refused.exception)
