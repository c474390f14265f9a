"""A question that does not fit an agent's checkpoint is refused before anything is computed."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.system import load_system
from recursivemas.training.agents import load_agents
from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import begin
from recursivemas.training.window import check_window

SYSTEM = Path(__file__).parents[2] / "systems/hop-sequential.yaml"


@pytest.fixture(scope="module")
def recursion() -> Recursion:
    system = load_system(SYSTEM)
    return Recursion(system, load_agents(system), None)


def longest(recursion: Recursion, mode: str, latent_steps: int = 1) -> int:
    """The most repetitions of a word that fit, found by the check itself."""
    low, high = 0, 20_000
    while low < high:
        middle = (low + high + 1) // 2
        try:
            check_window(recursion.system, recursion.agents, ["a " * middle], 2, latent_steps, mode)  # type: ignore[arg-type]
            low = middle
        except InputError:
            high = middle - 1
    return low


def test_a_question_that_is_too_long_is_refused_before_anything_is_computed(
    recursion: Recursion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recursivemas.training.recursion.begin", lambda *_: pytest.fail("something was computed"))
    for mode in ("latent", "text", "single", "loop"):
        with pytest.raises(InputError, match=r"question 2 \('a a .*…'\) needs \d+ positions in .*; its checkpoint has"):
            recursion.run(["short", "a " * 9000], 2, 4, mode)  # type: ignore[arg-type]


def test_thoughts_and_hand_offs_count(recursion: Recursion) -> None:
    fits = longest(recursion, "latent")
    assert 0 < fits < 20_000
    assert longest(recursion, "single") > fits > longest(recursion, "latent", 40)
    assert longest(recursion, "loop", 40) < longest(recursion, "loop")


def test_positions_are_those_that_a_run_computes(recursion: Recursion, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def counted(agent: object, prompts: list[object], *rest: object) -> object:
        lengths.append(len(prompts[0]))  # type: ignore[arg-type]
        return begin(agent, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("recursivemas.training.recursion.begin", counted)
    recursion.run(["a"], 1, 1, "single")
    window = recursion.deciding.context_window
    fits = longest(recursion, "single")
    filled = "".join(getattr(each, "text", "") for each in recursion.deciding.filled(0, "a " * (fits + 1), alone=True))
    assert len(recursion.deciding.token_ids(filled)) + recursion.prefix_tokens() > window >= lengths[0]


def test_a_missing_data_file_is_found_before_agents_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = yaml.safe_load(SYSTEM.read_text())
    for agent in data["agents"]:
        agent["model"] = str((SYSTEM.parent / agent["model"]).resolve())
    data["task"] |= {"data": "gone.jsonl", "train": "gone.jsonl"}
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(data))
    fail = lambda *_, **__: pytest.fail("agents were loaded")  # noqa: E731
    monkeypatch.setattr("recursivemas.training.loading.load_agents", fail)
    monkeypatch.setattr("recursivemas.release.package.built_agents", fail)
    links = SYSTEM.parent / "links/hop-sequential.recursivelink.json"
    for command in (
        ["eval", "system.yaml", "--links", str(links)],
        ["train", "system.yaml", "--out", "out"],
        ["build", "system.yaml", "--links", str(links), "--out", "out"],
    ):
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, InputError), result.output
        assert "gone.jsonl: no such data file" in str(result.exception)


@pytest.mark.parametrize("option", ["--rounds", "--latent-steps"])
@pytest.mark.parametrize("value", ["1000000000", "0", "1,1000000", "9" * 5000, "x"])
def test_absurd_numbers_are_refused_at_once(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["eval", str(SYSTEM), option, value])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{option} ")
    assert CliRunner().invoke(app, ["run", str(SYSTEM), "--question", "q", option, "1000000000"]).exit_code == 2
