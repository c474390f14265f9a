"""What the settings of training do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.system.names import LinkVariant
from recursivemas.system.questions import QuestionRecord
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.curves import draw_curves
from recursivemas.training.links import InnerLink
from recursivemas.training.loading import agents_dtype
from recursivemas.training.tasks.data import TrainingData
from recursivemas.training.train import trainer
from recursivemas.training.train.initialise import start_inner_from_ridge
from recursivemas.training.train.inner_loop import embedding_scale
from recursivemas.training.train.pairs import Pairs
from recursivemas.training.train.trainer import train_system
from tests.training.conftest import MakeSystem

INNER = {"questions": 8, "steps": 2, "batch_size": 8}
OUTER = {"alignment_steps": 2, "steps": 4, "batch_size": 2, "warmup_steps": 1}


def outer_log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "outer"]


def rounds_of(line: dict[str, Any]) -> set[str]:
    return {key.rsplit("/", 1)[1] for key in line if key.startswith("handoff_gradient/")}


def test_supervision_of_every_round_scores_each(make_system: MakeSystem, tmp_path: Path) -> None:
    outer = {**OUTER, "supervision": "every", "gradient_checkpointing": True}
    train_system(make_system("distillation", inner=INNER, outer=outer), tmp_path)
    for line in outer_log(tmp_path):
        scored = [line["loss_round/1"], line["loss_round/2"]]
        assert abs(line["loss"] - sum(scored) / 2) < 1e-5
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curriculum_begins_with_one_round(make_system: MakeSystem, tmp_path: Path) -> None:
    train_system(make_system("distillation", inner=INNER, outer={**OUTER, "curriculum": True}), tmp_path)
    assert scored_rounds(tmp_path) == [1, 2, 2, 2]


def scored_rounds(folder: Path) -> list[int]:
    """The last scored round of every step, counted from 1."""
    return [max(int(key.split("/")[1]) for key in line if key.startswith("loss_round/")) for line in outer_log(folder)]


def test_parts_of_the_steps_train_through_their_own_rounds(make_system: MakeSystem, tmp_path: Path) -> None:
    train_system(make_system("distillation", inner=INNER, outer={**OUTER, "rounds": [2, 3]}), tmp_path)
    assert scored_rounds(tmp_path) == [2, 2, 3, 3]
    with pytest.raises(
        InputError, match=r"training\.outer\.rounds\.0: Input should be greater than or equal to 1, got 0"
    ):
        make_system("distillation", outer={**OUTER, "rounds": [0]})


def test_questions_that_few_rounds_cannot_answer_wait_for_more(make_system: MakeSystem, tmp_path: Path) -> None:
    rows = [
        {"question": "mid iron ?", "answer": "iron", "ready": "1"},
        {"question": "low gold ?", "answer": "gold", "ready": "2"},
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outer = {**OUTER, "batch_size": 2, "answerable_field": "ready", "early_weight": 0.5}
    system = make_system("distillation", inner=INNER, outer={**outer, "rounds": [1, 2]})
    asked: list[list[str]] = []

    data = TrainingData(str(questions), 0)
    agents = load_agents(system)
    original = trainer.outer_loss

    def watched(recursion: Any, records: list[QuestionRecord], *rest: Any, **options: Any) -> Any:
        asked.append([record.fields["ready"] for record in records])
        return original(recursion, records, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "outer_loss", watched)
        train_system(system, tmp_path / "out", agents=agents, data=data)
    assert [sorted(each) for each in asked] == [["1"], ["1"], ["1", "2"], ["1", "2"]]


def test_bfloat16_agents_train_float32_links_with_a_bottleneck(make_system: MakeSystem, tmp_path: Path) -> None:
    settings = {"precision": "bfloat16", "variant": "paper", "inner_width": 3, "outer_width": 5}
    system = make_system("distillation", inner=INNER, outer={**OUTER, "train_inner": True}, **settings)
    agents = load_agents(system, dtype=agents_dtype("bfloat16", torch.device("cpu")))
    links = train_system(system, tmp_path, agents=agents)
    assert {agent.dtype for agent in agents.values()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in links.parameters()} == {torch.float32}
    file = load_links(tmp_path / "recursivelink.json")
    assert file.variant == "paper"
    assert {link.width for link in file.inner.values()} == {3}
    assert {link.width for link in file.outer.values()} == {5}
    # Steps smaller than bfloat16 can hold are not lost.
    weights = file.inner["planner"].tensors["w1"].array()
    rounded = torch.tensor(np.array(weights)).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(weights, rounded)


def test_handoff_clip_bounds_what_reaches_a_link(make_system: MakeSystem, tmp_path: Path) -> None:
    norms = {}
    for clip in (0.0, 1e-4):
        out = tmp_path / str(clip)
        train_system(make_system("distillation", inner=INNER, outer={**OUTER, "steps": 1, "handoff_clip": clip}), out)
        norms[clip] = outer_log(out)[0]["gradient_norm"]
    assert norms[1e-4] < norms[0.0] / 10


def test_random_initialisation_is_worse_than_ridge(make_system: MakeSystem, tmp_path: Path) -> None:
    cosines = {}
    for method in ("ridge", "random"):
        outer = {**OUTER, "alignment_steps": 0, "steps": 0, "initialisation": method}
        train_system(make_system("distillation", inner={**INNER, "questions": 64}, outer=outer), tmp_path / method)
        lines = [json.loads(line) for line in (tmp_path / method / "metrics.jsonl").read_text().splitlines()]
        cosines[method] = min(line["cosine"] for line in lines if line["phase"].startswith("start outer"))
    assert cosines["ridge"] > cosines["random"] + 0.2


@pytest.mark.parametrize("variant", ["paper", "normed", "ln_res"])
def test_an_inner_link_can_start_as_a_linear_map(agents: dict[str, LoadedAgent], variant: LinkVariant) -> None:
    agent = agents["critic"]
    size, count = agent.hidden_size, 3000
    torch.manual_seed(3)
    ids = torch.randint(0, len(agent.embedding_table), (count, 1))
    wanted = agent.embed(ids[:, 0])
    # Hidden states of nearly one length, as a final norm makes them, from which a linear map tells the embedding.
    hidden = functional.normalize(wanted @ torch.randn(size, size) + 0.01 * torch.randn(count, size), dim=-1) * 20
    pairs = Pairs(hidden, ids, torch.ones_like(ids, dtype=torch.float32), {})
    link = InnerLink(size, 2 * size + 3, variant).requires_grad_(False)
    link.scale_output(embedding_scale(agent))
    assert start_inner_from_ridge(link, agent, pairs) > 0.95
    ratio = link(hidden).norm(dim=1) / wanted.norm(dim=1)
    assert 0.5 < float(ratio.median()) < 2
    with pytest.raises(InputError, match=f"at least twice the hidden size, {2 * size}"):
        start_inner_from_ridge(InnerLink(size, 2 * size - 1, variant), agent, pairs)


def test_only_the_chosen_edges_learn_from_cross_entropy(make_system: MakeSystem, tmp_path: Path) -> None:
    outer = {**OUTER, "train_inner": True, "edges": ["solver->planner"]}
    train_system(make_system("sequential", inner=INNER, outer=outer), tmp_path, keep_at=(0, OUTER["steps"]))
    before, after = (load_links(tmp_path / "stages" / f"outer-{step}.json") for step in (0, OUTER["steps"]))
    assert {agent for agent, link in after.inner.items() if link != before.inner[agent]} == {"solver"}
    assert {edge for edge, link in after.outer.items() if link != before.outer[edge]} == {"solver->planner"}
    with pytest.raises(InputError, match="'a->b' is no edge; the edges are planner->critic"):
        make_system("sequential", outer={"edges": ["a->b"]})
