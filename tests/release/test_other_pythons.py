"""The wheel in empty environments, with the versions that pip chooses: with torch, and without it on a newer Python."""

from pathlib import Path

import pytest

from .environments import ROOT, answer_of_the_example, install, run, with_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what its ranges bring."""
    programs, wheel = with_python("3.13", tmp_path_factory.mktemp("other"))
    install(programs, wheel)
    return programs


def test_pip_installs_what_the_three_lines_need(tmp_path: Path) -> None:
    programs, wheel = with_python("3.11", tmp_path)
    # The same torch as everywhere: requirements/torch.txt says where its small build comes from.
    install(programs, "--requirement", ROOT / "requirements/torch.txt", f"{wheel}[train]")
    assert answer_of_the_example(programs / "python", tmp_path) == "d\n"


def test_newer_python_finds_everything_but_torch(programs: Path, tmp_path: Path) -> None:
    probe = "import importlib.util, sys; print(sys.version_info[:2], importlib.util.find_spec('torch'))"
    assert run(programs / "python", "-c", probe, cwd=tmp_path).strip() == "(3, 13) None"
    assert "Python" in run(programs / "rmas", "doctor", cwd=tmp_path)


def test_newer_python_compiles_an_agent(programs: Path, tmp_path: Path) -> None:
    agent = ROOT / "systems/agents/planner"
    run(programs / "rmas", "compile", agent, "--quantization", "q0f32", "--out", "agent", cwd=tmp_path)
    assert list((tmp_path / "agent").glob("*.wasm")) and (tmp_path / "agent/params_shard_0.bin").is_file()
