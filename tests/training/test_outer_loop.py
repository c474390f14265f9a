"""The outer loop for real agents: prefixes read once, weighted rounds, teacher forcing, soft prompts, warnings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recursivemas.system.cache import damage
from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System, load_system
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import logits
from recursivemas.training.train import outer_loop, trainer, watch
from recursivemas.training.train.graphs import RecordedRounds, Scored
from recursivemas.training.train.initialise import share_embeddings
from recursivemas.training.train.outer_loop import GradientWatch, first_answerable, outer_loss
from recursivemas.training.train.prefix import PrefixRecursion
from recursivemas.training.train.soft_prompts import soft_prompt_hook
from recursivemas.training.train.teacher_forcing import TeacherForcedRecursion
from recursivemas.training.train.trainer import train_system
from recursivemas.training.train.watch import StartWatch
from tests.training.conftest import QUESTIONS, MakeSystem, make_links
from tests.training.test_train import lines

ANSWERS = ["a", "b c d", "e f"]
SHORT: dict[str, Any] = {
    "inner_width": 16,
    "outer_width": 16,
    "inner": {"questions": 24, "steps": 2, "batch_size": 32},
}


def records(**columns: str) -> list[QuestionRecord]:
    pairs = zip(QUESTIONS, ANSWERS, strict=True)
    return [QuestionRecord(question=question, answer=answer, fields=columns) for question, answer in pairs]


def with_prompts(system: System, **changes: str | None) -> System:
    agents = tuple(agent.model_copy(update=changes) for agent in system.agents)
    return system.model_copy(update={"agents": agents})


def gradients(links: Links) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in links.parameters()]


@pytest.mark.parametrize("first_round_prompt", [None, "<bos> plan {question} go", "<bos> solve {question}"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_prefixes_read_once_give_the_losses_and_gradients_of_reading_everything(
    make_system: MakeSystem, agents: dict[str, LoadedAgent], first_round_prompt: str | None, checkpointing: bool
) -> None:
    system = make_system("sequential", rounds=3)
    changed = with_prompts(system, first_round_prompt=first_round_prompt)
    used = load_agents(changed)
    found = []
    for kind in (Recursion, PrefixRecursion):
        links = make_links(system, agents)
        recursion = kind(changed, used, links)
        loss, figures = outer_loss(recursion, QUESTIONS, ANSWERS, 3, 2, True, checkpointing)
        loss.backward()
        found.append((loss.detach(), figures, gradients(links)))
    (plain, plain_figures, expected), (loss, figures, computed) = found
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=0)
    assert figures == pytest.approx(plain_figures, rel=1e-5)
    assert any(bool(each.any()) for each in expected)
    for gradient, wanted in zip(computed, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)


def test_prefix_is_read_once_for_all_rounds(make_system: MakeSystem) -> None:
    system = make_system("distillation", rounds=3)
    used = load_agents(system)
    read: list[int] = []
    watched = [
        each.model.base_model.register_forward_pre_hook(
            lambda _module, _args, given: read.append(given["inputs_embeds"].shape[1]), with_kwargs=True
        )
        for each in used.values()
    ]
    positions = []
    for kind in (Recursion, PrefixRecursion):
        read.clear()
        outer_loss(kind(system, used, make_links(system, used)), [QUESTIONS[0]] * 2, ["a", "b"], 3, 2)
        positions.append(sum(read))
    for handle in watched:
        handle.remove()
    prefix = len(used["planner"].token_ids(f"<bos> plan {QUESTIONS[0]} "))
    assert positions[0] - positions[1] == 2 * 2 * prefix  # two agents, in two of three rounds


@pytest.mark.parametrize("scored", [Scored(False, 0.5), Scored(True, 0.0), Scored(False, 0.0)])
def test_recorded_rounds_give_the_losses_and_gradients_of_running_them(make_system: MakeSystem, scored: Scored) -> None:
    system = make_system("sequential", rounds=3)
    agents = load_agents(system)
    links, plain_links = make_links(system, agents), make_links(system, agents)
    recorded = RecordedRounds(PrefixRecursion(system, agents, links), [*links.parameters()], scored, 2, capture=False)
    longer = QuestionRecord(question=" ".join(QUESTIONS), answer="a b c d e f")
    for batch in (records(), [*records()[:2], longer], records()[::-1]):
        answerable = [0, 2, 1]
        found = recorded(batch, 3, answerable)
        assert found is not None
        loss, figures = found
        wanted, wanted_figures = outer_loss(
            *(Recursion(system, agents, plain_links), batch, [record.answer for record in batch], 3, 2),
            every_round=scored.every_round,
            early_weight=scored.early_weight,
            answerable=answerable,
        )
        for each in (loss, wanted):
            torch.autograd.backward(each)
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
        assert figures == pytest.approx(wanted_figures, rel=1e-5)
        for gradient, expected in zip(gradients(links), gradients(plain_links), strict=True):
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)
        for module in (links, plain_links):
            module.zero_grad()


def test_recorded_rounds_leave_prompts_that_differ_behind_the_slot_to_others(
    make_system: MakeSystem,
) -> None:
    system = with_prompts(make_system("distillation"), prompt="<bos> plan {latent:planner->solver} {question} go")
    system = system.model_copy(update={"agents": (make_system("distillation").agents[0], system.agents[1])})
    agents = load_agents(system)
    links = make_links(system, agents)
    recursion = PrefixRecursion(system, agents, links)
    assert RecordedRounds(recursion, [*links.parameters()], Scored(False, 0.0), 2, False)(records(), 2, [0] * 3) is None


def test_outer_loss_weights_earlier_rounds_that_can_answer(
    make_system: MakeSystem, agents: dict[str, LoadedAgent]
) -> None:
    system = make_system("sequential", rounds=3)
    recursion = PrefixRecursion(system, agents, make_links(system, agents))
    alone = [outer_loss(recursion, [q], [a], 3, 2, True)[1] for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    lengths = torch.tensor([len(agents["solver"].token_ids(answer)) + 1.0 for answer in ANSWERS])
    by_round = [torch.tensor([each[f"loss_round/{number}"] for each in alone]) * lengths for number in (1, 2, 3)]
    ready = torch.tensor([1, 0, 2])  # counted from 0
    wanted = by_round[2].sum()
    for index in (0, 1):
        wanted = wanted + 0.5 * (by_round[index] * (ready <= index)).sum()
    loss, _ = outer_loss(recursion, QUESTIONS, ANSWERS, 3, 2, early_weight=0.5, answerable=ready.tolist())
    torch.testing.assert_close(loss, wanted / lengths.sum(), rtol=1e-5, atol=0)


def test_first_answerable_reads_a_column_and_refuses_others() -> None:
    assert first_answerable(records(), None) == [0, 0, 0]
    assert first_answerable(records(hops="2"), "hops") == [1, 1, 1]
    for columns in ({}, {"hops": "0"}, {"hops": "two"}):
        with pytest.raises(InputError, match=r"answerable_field: expected the first round .* column 'hops'"):
            first_answerable(records(**columns), "hops")


def test_logits_are_computed_at_counted_positions_alone(
    system: System, agents: dict[str, LoadedAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[torch.Size] = []

    def watched(agent: LoadedAgent, hidden: Tensor) -> Tensor:
        shapes.append(hidden.shape)
        return logits(agent, hidden)

    monkeypatch.setattr(outer_loop, "logits", watched)
    outer_loss(Recursion(system, agents, make_links(system, agents)), QUESTIONS, ANSWERS, 1, 2)
    assert shapes == [(sum(len(agents["solver"].token_ids(a)) + 1 for a in ANSWERS), agents["solver"].hidden_size)]


def test_teacher_forcing_hands_over_states_at_reference_texts(make_system: MakeSystem) -> None:
    outer = {"forward": "teacher_forced", "references": {"planner": "plan"}, "reference_tokens": 2}
    system = make_system("distillation", think=False, rounds=2, outer=outer)
    used = load_agents(system)
    links = make_links(system, used)
    handed: dict[tuple[str, int], Tensor] = {}

    def hook(edge: str, round_index: int, value: Tensor) -> Tensor:
        handed[(edge, round_index)] = value
        return value

    recursion = TeacherForcedRecursion(system, used, links, hook)
    loss, _ = outer_loss(recursion, records(plan="a b c"), ANSWERS, 2, 3)
    loss.backward()
    assert any(bool(each.any()) for each in gradients(links))
    planner = used["planner"]
    text = planner.filled(0, QUESTIONS[0])
    prompt = [planner.embed(planner.token_ids(each.text)) for each in text if hasattr(each, "text")]
    read = torch.cat([*prompt, planner.embed(planner.token_ids("a b"))])
    states = planner.model.base_model(inputs_embeds=read[None]).last_hidden_state[0, -2:]
    wanted = links.outer["planner->solver"](links.inner["planner"](states))
    torch.testing.assert_close(handed[("planner->solver", 0)][0], wanted, rtol=1e-4, atol=1e-5)
    # The solver has no column of its own, so it reads the answers, which are shorter and longer than two tokens.
    assert handed[("solver->planner", 0)].shape[1] == 2
    with pytest.raises(InputError, match="agent 'planner' reads column 'plan', which is missing"):
        outer_loss(TeacherForcedRecursion(system, used, links), records(), ANSWERS, 2, 3)


def test_outer_links_between_agents_with_the_same_embeddings_start_from_the_identity(
    make_system: MakeSystem, agents: dict[str, LoadedAgent], tmp_path: Path
) -> None:
    assert share_embeddings(agents["planner"], agents["planner"])
    assert not share_embeddings(agents["planner"], agents["solver"])
    outer: dict[str, Any] = {"alignment_steps": 0, "steps": 0}
    for start in ("identity", "ridge"):
        system = make_system("distillation", **SHORT, outer={**outer, "start": start})
        model = system.agent("solver").model
        system = system.model_copy(
            update={"agents": tuple(agent.model_copy(update={"model": model}) for agent in system.agents)}
        )
        links = train_system(system, tmp_path / start, agents=load_agents(system))
        link = links.outer["planner->solver"]
        assert torch.equal(link.w3, torch.eye(len(link.w3))) == (start == "identity")
        started = [line for line in lines(tmp_path / start) if line["phase"].startswith("start outer")]
        assert {line["method"] for line in started} == {start}


def test_a_learning_rate_that_wipes_out_the_start_is_reported_once() -> None:
    said: list[str] = []
    start = StartWatch(20, said.append)
    for step in range(1, 40):
        start(step, 4.0 if step == 1 else 8.0)
    assert len(said) == 1 and "from 4.00" in said[0] and "training.outer.learning_rate" in said[0]
    for losses in ([4.0] + [4.5] * 40, [0.01] + [0.1] * 40):
        quiet: list[str] = []
        start = StartWatch(20, quiet.append)
        for step, loss in enumerate(losses, 1):
            start(step, loss)
        assert not quiet


def test_training_keeps_links_on_the_way_and_watches_its_start(
    make_system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MUCH_WORSE", 0.0)
    monkeypatch.setattr(watch, "WORSE_BY", -9.0)
    said: list[str] = []
    outer = {"alignment_steps": 0, "steps": 12, "batch_size": 2, "warmup_steps": 0}
    system = make_system("distillation", **SHORT, outer=outer)
    train_system(system, tmp_path, say=said.append, keep_at=[0, 5, 12], device="cpu")
    assert {path.stem for path in (tmp_path / "stages").glob("outer-*.json")} == {"outer-0", "outer-5", "outer-12"}
    assert all(damage(path) is None for path in (tmp_path / "stages").glob("*.json"))
    assert "wipes out" in said[-1]


@pytest.mark.parametrize(("rate", "lost"), [(0.3, True), (1e-6, False)])
def test_a_rate_that_wipes_out_trained_links_is_told(rate: float, lost: bool, tmp_path: Path) -> None:
    systems = Path(__file__).parents[2] / "systems"
    system = load_system(systems / "hop-sequential.yaml")
    outer = system.training.outer.model_copy(
        update={"steps": 12, "batch_size": 4, "warmup_steps": 0, "learning_rate": rate}
    )
    system = system.model_copy(update={"training": system.training.model_copy(update={"outer": outer})})
    said: list[str] = []
    start = load_links(systems / "links/hop-sequential.recursivelink.json")
    train_system(system, tmp_path, start=start, say=said.append, device="cpu")
    assert any("the learning rate wipes out what the links started from" in line for line in said) == lost


def test_micro_batches_hold_questions_of_like_length(make_system: MakeSystem, tmp_path: Path) -> None:
    drawn: list[list[int]] = []
    outer = {"alignment_steps": 0, "steps": 1, "batch_size": 3, "gradient_accumulation": 4}
    system = make_system("distillation", **SHORT, outer=outer)
    original = trainer.outer_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            trainer,
            "outer_loss",
            lambda recursion, questions, *rest, **options: (
                drawn.append([len(record.question) for record in questions]),
                original(recursion, questions, *rest, **options),
            )[1],
        )
        train_system(system, tmp_path)
    assert len(drawn) == 4
    together = [length for part in drawn for length in part]
    assert together == sorted(together)


def test_soft_prompts_train_in_place_of_hand_offs(make_system: MakeSystem, tmp_path: Path) -> None:
    outer = {"steps": 4, "batch_size": 2, "warmup_steps": 0, "learning_rate": 0.1}
    system = make_system("distillation", **SHORT, outer=outer)
    links = train_system(system, tmp_path, soft_prompts=True)
    hook = soft_prompt_hook(tmp_path)
    given = torch.zeros(3, system.latent_steps, 40)
    replaced = hook("planner->solver", 1, given)
    assert replaced.shape == given.shape and bool(replaced.any()) and torch.equal(replaced[0], replaced[2])
    assert hook("solver->planner", 0, given) is given
    assert len(links.outer) == 2 and not (tmp_path / "recursivelink.json").exists()


def test_gradient_watch_sees_every_hand_off_behind_a_prefix(make_system: MakeSystem) -> None:
    system = make_system("distillation", rounds=2)
    agents, gradient = load_agents(system), GradientWatch(1.0)
    recursion = PrefixRecursion(system, agents, make_links(system, agents), gradient)
    loss, _ = outer_loss(recursion, QUESTIONS, ANSWERS, 2, 2)
    loss.backward()
    assert set(gradient.norms) == {("planner->solver", 0), ("solver->planner", 0), ("planner->solver", 1)}
