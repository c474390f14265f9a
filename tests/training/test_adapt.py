"""Role texts, and adapters that are trained from them."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.training.agents import LoadedAgent, load_agent, load_agents
from recursivemas.training.recursion import Recursion
from recursivemas.training.train.adapt import AdapterSettings, _counted, _handed, _with_adapter, train_adapter
from recursivemas.training.train.recorded_texts import RecordedTexts
from recursivemas.training.train.role_texts import Padding, lesson, load_role_texts, pad_token
from recursivemas.training.train.text_pairs import collect_text_pairs
from recursivemas.training.train.trainer import train_system
from tests.training.conftest import MakeSystem
from tests.training.test_train import lines

PLAIN = {"prompt": ["<bos> plan", {"hand_off": "a@1"}, "go"], "completion": "b", "kind": "answer"}
OF_SYSTEM = {
    "agent": "solver",
    "round": 2,
    "question": "a>b ? a@1",
    "hand_offs": {"planner->solver": "b@1 b@0"},
    "completion": "b@2",
    "kind": "hand_off",
}


def write_texts(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def town_texts(agent: str | None, count: int) -> list[dict[str, Any]]:
    """Texts whose completion repeats a town of the hand-off."""
    towns = "abcdefghijkl"
    named = {} if agent is None else {"agent": agent}
    return [
        {
            **named,
            "prompt": ["<bos> plan", {"hand_off": f"{towns[n % 12]}@1"}, "go"],
            "completion": f"{towns[n % 12]}@0",
            "kind": "hand_off",
        }
        for n in range(count)
    ]


@pytest.fixture
def pair(make_system: MakeSystem) -> dict[str, LoadedAgent]:
    return load_agents(make_system("distillation"))


def test_lessons_hold_hand_offs_of_a_fixed_length(pair: dict[str, LoadedAgent], tmp_path: Path) -> None:
    solver = pair["solver"]
    plain, declared = load_role_texts(write_texts(tmp_path / "texts.jsonl", [PLAIN, OF_SYSTEM]))
    padding = Padding(3, pad_token(solver, "go"))
    found = lesson(solver, plain, padding)
    go = solver.token_ids("go")
    assert found.prompt == [*solver.token_ids("<bos> plan"), *solver.token_ids("a@1"), *go, *go, *go]
    assert found.completion == [*solver.token_ids("b"), solver.closing_token]
    assert found.handed == [False, False, True, True, True, False, False, False]
    found = lesson(solver, declared, padding)
    prompt = ["<bos> plan a>b ? a@1", "b@1 b@0 go", "go"]
    assert found.prompt == [token for part in prompt for token in solver.token_ids(part)]
    assert found.completion == [*solver.token_ids("b@2"), *go, *go]
    assert found.handed[-3:] == [True] * 3 and sum(found.handed) == 6
    assert lesson(solver, declared, Padding(None, 0)).completion == solver.token_ids("b@2")
    short = lesson(solver, declared, Padding(1, 0))
    assert len(short.completion) == 1
    assert short.prompt == lesson(solver, declared, Padding(None, 0)).prompt  # what is read stays whole
    assert lesson(solver, declared, Padding(3, None)).completion == solver.token_ids("b@2")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[1]", "expected an object"),
        ("{", "not valid JSON"),
        ({**PLAIN, "kind": "note"}, "kind"),
        ({**PLAIN, "complettion": "b"}, "did you mean 'completion'"),
        ({key: value for key, value in OF_SYSTEM.items() if key != "agent"}, "names no agent"),
    ],
)
def test_bad_role_texts_are_refused_in_one_line(tmp_path: Path, row: Any, message: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(row if isinstance(row, str) else json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_role_texts(path)
    assert "texts.jsonl:1" in str(caught.value) and "\n" not in str(caught.value)


def test_padding_is_one_token(pair: dict[str, LoadedAgent]) -> None:
    with pytest.raises(InputError, match="padding 'a b' is 2 tokens"):
        pad_token(pair["solver"], "a b")


def adapter_settings(**changes: Any) -> AdapterSettings:
    return AdapterSettings(**{"steps": 80, "batch_size": 8, "learning_rate": 3e-2, "warmup_steps": 2, **changes})


def lessons_of(agent: LoadedAgent, tmp_path: Path, count: int = 60) -> list[Any]:
    texts = load_role_texts(write_texts(tmp_path / "texts.jsonl", town_texts(None, count)))
    return [lesson(agent, text, Padding(2, pad_token(agent, "go"))) for text in texts]


def test_train_adapter_learns_and_peft_reads_it(make_system: MakeSystem, tmp_path: Path) -> None:
    declared = make_system("distillation").agent("solver")
    agent = load_agent(declared)
    lessons = lessons_of(agent, tmp_path)
    everywhere = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    settings = adapter_settings(targets=everywhere, steps=120)
    figures = train_adapter(agent, lessons, tmp_path / "out", settings, "a/base", lessons[:12])
    log = [line for line in lines(tmp_path / "out") if line["phase"] == "adapter"]
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]
    assert figures["accuracy"] == figures["accuracy/text hand-off"] > 0.25  # by chance 1 in 12
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"], config["peft_type"]) == (8, "a/base", "LORA")
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    # peft gives the trained model back: the logits agree up to the rounding to float16.
    plain = load_agent(declared)
    again = peft.PeftModel.from_pretrained(plain.model, tmp_path / "out")
    ids = torch.tensor([lessons[0].ids])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, agent.model(ids).logits, rtol=1e-2, atol=5e-2)


def test_train_adapter_continues_where_it_stopped(make_system: MakeSystem, tmp_path: Path) -> None:
    declared, settings = make_system("distillation").agent("solver"), adapter_settings(steps=6)
    found = []
    for stops in (False, True):
        out = tmp_path / str(stops)
        agent = load_agent(declared)
        lessons = lessons_of(agent, tmp_path)
        options: dict[str, Any] = {"resume": True, "checkpoint_every": 2, "base": "base"}
        if stops:

            def stop(_phase: str) -> Any:
                def report(step: int, _steps: int) -> None:
                    if step == 4:
                        raise KeyboardInterrupt

                return report

            with pytest.raises(KeyboardInterrupt):
                train_adapter(agent, lessons, out, settings, progress=stop, **options)
            agent = load_agent(declared)
        train_adapter(agent, lessons, out, settings, **options)
        found.append(load_file(out / "adapter_model.safetensors"))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    with pytest.raises(InputError, match="checkpoint of another run"):
        again = load_agent(declared)
        train_adapter(again, lessons, out, adapter_settings(steps=7), "base", resume=True)


def test_noise_reaches_hand_offs_alone(make_system: MakeSystem, tmp_path: Path) -> None:
    from recursivemas.training.train.adapt import _Adapted

    agent = load_agent(make_system("distillation").agent("solver"))
    (one,) = lessons_of(agent, tmp_path, 1)
    noisy = _Adapted(agent, agent.model, adapter_settings(noise_share=1.0))
    embeds = agent.embed(torch.tensor([one.ids]))
    changed = noisy._noisy(embeds, torch.tensor([one.handed]), torch.Generator().manual_seed(1))
    assert (changed != embeds).any(-1)[0].tolist() == one.handed
    ratio = (changed - embeds)[0].norm(dim=-1) / embeds[0].norm(dim=-1)
    assert float(ratio.max()) < 3.0


def test_train_adapter_refuses_unknown_targets(make_system: MakeSystem, tmp_path: Path) -> None:
    agent = load_agent(make_system("distillation").agent("solver"))
    lessons = lessons_of(agent, tmp_path)
    with pytest.raises(InputError, match="--targets nothing: ") as caught:
        train_adapter(agent, lessons, tmp_path / "out", adapter_settings(targets=("nothing",)), "base")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="too few role texts"):
        train_adapter(agent, lessons[:1], tmp_path / "out", adapter_settings(), "base")


def test_adapt_command_serves_agents_that_share_a_checkpoint(make_system: MakeSystem, tmp_path: Path) -> None:
    system = make_system("distillation")
    data = system.model_dump(mode="json", by_alias=True, exclude={"edges"})
    for agent in data["agents"]:
        agent["model"] = system.agent("solver").model
    path = tmp_path / "system.yaml"
    path.write_text(yaml.safe_dump(data))
    texts = write_texts(tmp_path / "texts.jsonl", [OF_SYSTEM, *town_texts("planner", 20)] * 2)
    out = tmp_path / "adapter"
    given = ["--data", str(texts), "--out", str(out), "--steps", "2", "--batch", "2", "--pad", "go", "--threads", "1"]
    result = CliRunner().invoke(app, ["adapt", str(path), *given])
    assert result.exit_code == 0, result.output
    assert "accuracy/planner hand-off" in result.output
    assert (
        json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == data["agents"][0]["model"]
    )


@pytest.mark.parametrize("finish", [False, True])
def test_pairs_come_from_role_texts(
    make_system: MakeSystem, pair: dict[str, LoadedAgent], tmp_path: Path, finish: bool
) -> None:
    system = make_system("distillation")
    solver = pair["solver"]
    texts = load_role_texts(write_texts(tmp_path / "texts.jsonl", [PLAIN, OF_SYSTEM]))
    lessons = {"solver": [lesson(solver, text, Padding(None, 0)) for text in texts], "planner": []}
    pairs = collect_text_pairs(Recursion(system, pair, None), lessons, 0, finish)["solver"]
    if finish:
        assert 0 < len(pairs.targets) <= 3
        return
    ordered = sorted(lessons["solver"], key=lambda each: each.prompt)
    assert pairs.targets[:, 0].tolist() == [token for own in ordered for token in own.completion]
    for own, hidden in zip(ordered, pairs.hidden.split([len(each.completion) for each in ordered]), strict=True):
        with torch.no_grad():
            states = solver.model.base_model(input_ids=torch.tensor([own.ids])).last_hidden_state[0]
        torch.testing.assert_close(hidden, states[len(own.prompt) - 1 : -1], rtol=1e-4, atol=1e-5)


def test_inner_links_learn_from_role_texts_by_distance_and_nearest_token(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    rows = [row for agent in ("planner", "solver") for row in town_texts(agent, 34)]
    inner = {
        **{
            "texts": str(write_texts(tmp_path / "texts.jsonl", rows)),
            "loss": "distance",
            "nearest_weight": 0.1,
            "pad": "go",
        },
        **{"steps": 40, "batch_size": 32},
    }
    system = make_system("distillation", inner=inner, outer={"alignment_steps": 2, "steps": 1, "batch_size": 2})
    used = load_agents(system)
    train_system(system, tmp_path / "out", agents=used)
    log = [line for line in lines(tmp_path / "out") if line["phase"] == "inner solver" and "distance" in line]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["nearest_token"] > log[0]["nearest_token"] + 0.2
    missing = make_system("distillation", inner={"texts": inner["texts"], "pad": "go"})
    write_texts(tmp_path / "texts.jsonl", town_texts("planner", 4))
    with pytest.raises(InputError, match="has no text of agent 'solver'"):
        train_system(missing, tmp_path / "other")


def test_recorded_steps_have_the_loss_and_gradients_of_plain_ones(pair: dict[str, LoadedAgent], tmp_path: Path) -> None:
    agent = pair["solver"]
    path = write_texts(tmp_path / "texts.jsonl", town_texts(None, 12))
    lessons = [lesson(agent, text, Padding(3, pad_token(agent, "go"))) for text in load_role_texts(path)]
    adapted = _with_adapter(agent, AdapterSettings(targets=("q_proj", "v_proj")), "base")
    parameters = list(adapted.parameters.values())
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(1))
    recorded = RecordedTexts(agent, parameters, max(len(each.completion) for each in lessons), capture=False)
    for begin in (0, 6):
        batch = lessons[begin : begin + 6]
        scores, wanted, _ = adapted.scores(batch, torch.Generator().manual_seed(begin))
        plain = torch.nn.functional.cross_entropy(scores, wanted)
        noise = adapted.noise(_handed(batch), torch.Generator().manual_seed(begin))
        found = recorded(batch, _counted(batch), noise)
        assert found is not None
        torch.testing.assert_close(found[0], plain)
        expected = torch.autograd.grad(plain, parameters)
        torch.testing.assert_close(torch.autograd.grad(found[0], parameters), expected, atol=1e-6, rtol=1e-4)
