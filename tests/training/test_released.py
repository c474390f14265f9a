"""The paper's own runner and ours, on the same tiny agents and links in the release's files: hand-offs and answers.

It takes a copy of the authors' repository that the variable RECURSIVEMAS_SOURCE_DIR names; nothing of it is kept here.
Every prompt, setting and name comes through `rmas import-release` and `rmas links convert`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from harness.released import make_style
from recursivemas.cli.app import app
from recursivemas.system.links_file import load_links
from recursivemas.system.released_code import code_folder
from recursivemas.system.released_settings import SetName
from recursivemas.system.system import System, load_system
from recursivemas.training.evaluation.released_sets import SETS
from recursivemas.training.loading import load_recursion

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS, TOKENS = 6, 24
ROWS: dict[str, list[dict[str, Any]]] = {
    "math500": [
        {"problem": "What is 2 + 2?", "answer": "4"},
        {"problem": "For which x is \\frac{x}{2} = {x}?\nSay it at once, please.", "answer": "0"},
        {"problem": "7 · 8", "answer": "56"},
    ],
    "medqa": [
        {"question": f"{stem}\nA. one\nB. two", "options": ["A. one", "B. two", "C. three", "D. four"], "answer": "one"}
        for stem in ("Which?", "Choose the correct option, doctor, among the four that follow:")
    ]
    + [{"query": "Who is it?", "options": ["A. him", "B. her", "C. them", "D. us"], "answer": "B"}],
    "gpqa": [
        {
            "Question": stem,
            "Correct Answer": "one",
            **{f"Incorrect Answer {number}": f"no {number}" for number in (1, 2, 3)},
        }
        for stem in ("Which?", "Which of these four is it, if it is any of them?", "Now?")
    ],
    "mbppplus": [
        {"prompt": "Add two numbers.", "test": "assert add(1, 2) == 3", "test_list": ["assert add(1, 2) == 3"]},
        {"prompt": "Say {}.", "test": "pass", "test_list": []},
        {
            "prompt": "Sort a list.\nIn place.",
            "test": "assert put(1)",
            "test_list": [f"assert put({n})" for n in range(5)],
        },
    ],
}
CASES: list[tuple[str, SetName]] = [
    ("sequential-light", "math500"),
    ("sequential-light", "gpqa"),
    ("sequential-light", "mbppplus"),
    ("sequential-scaled", "math500"),
    ("mixture", "medqa"),
    ("distillation", "mbppplus"),
    ("deliberation", "math500"),
]


@pytest.fixture
def copy() -> Path:
    """The copy of the authors' repository."""
    if "RECURSIVEMAS_SOURCE_DIR" not in os.environ:
        pytest.skip("RECURSIVEMAS_SOURCE_DIR names no copy of the authors' repository; forks of it are public")
    return Path(os.environ["RECURSIVEMAS_SOURCE_DIR"])


@dataclass(frozen=True)
class Theirs:
    """What the authors' runner did.

    Attributes:
        hand_offs: (B, M, D_target) in the order in which links were run.
        ids: Greedy ids of each answer, stop token excluded.
        texts: The answers with their continuations.
    """

    hand_offs: list[NDArray[np.float32]]
    ids: list[list[int]]
    texts: list[str]


def their_run(copy: Path, folder: Path, style: str, dataset: str, folders: dict[str, Path]) -> Theirs:
    code = code_folder(copy)
    spec = importlib.util.spec_from_file_location("load_from_repo", code / "load_from_repo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    repositories = module.STYLE_SPECS[style.replace("-", "_")]["repos"]
    request = {
        "code": str(code.resolve()),
        "style": style.replace("-", "_"),
        "dataset": dataset,
        "rows": ROWS[dataset],
        "folders": {repositories[role]: str(folder) for role, folder in folders.items()},
        "flags": {
            "latent_steps": STEPS,
            "max_new_tokens": TOKENS,
            "dtype": "float32",
            "outer_dtype": "float32",
            "batch_size": 8,
        },
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    program = [sys.executable, str(ROOT / "harness/released_runner.py")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*program, str(folder / "request.json"), str(folder / "theirs")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "theirs.npz") as arrays:
        hand_offs = [arrays[name] for name in arrays.files]
    answers = json.loads((folder / "theirs.json").read_text(encoding="utf-8"))
    return Theirs(hand_offs, answers["ids"], answers["texts"])


def imported(copy: Path, folder: Path, style: str, dataset: str, folders: dict[str, Path]) -> System:
    """Our system and its links in `folder`, with nothing typed by hand."""
    out = folder / "ours.yaml"
    agents = [f"--agents={role}={place}" for role, place in folders.items() if role != "outer"]
    options = ["--style", style, "--task", dataset, "--outer", str(folders["outer"]), *agents]
    for command in (
        ["import-release", str(copy), "--out", str(out), *options],
        ["links", "convert", str(out), "--out", str(folder / "links.json")],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exception is None, result.exception
    system = load_system(out)
    decoding = system.decoding.model_copy(update={"temperature": 0.0, "max_new_tokens": TOKENS})
    return system.model_copy(update={"latent_steps": STEPS, "decoding": decoding})


@pytest.mark.parametrize(("style", "dataset"), CASES, ids=["-".join(case) for case in CASES])
def test_hand_offs_and_answers_are_those_of_the_authors_runner(
    copy: Path, tmp_path: Path, style: str, dataset: SetName
) -> None:
    folders = make_style(tmp_path, style)
    theirs = their_run(copy, tmp_path, style, dataset, folders)
    system = imported(copy, tmp_path, style, dataset, folders)
    recursion = load_recursion(system, load_links(tmp_path / "links.json"))
    records = [SETS[dataset].read(row, 42).record for row in ROWS[dataset]]
    continued = recursion.run(records)
    handed = [value.numpy() for turn in continued.turns for value in turn.hand_offs.values()]
    assert system.rounds == 3
    assert len(handed) == len(theirs.hand_offs) == sum(system.rounds - edge.feedback for edge in system.edges)
    errors = [
        float(np.linalg.norm(ours - other) / np.linalg.norm(other))
        for ours, other in zip(handed, theirs.hand_offs, strict=True)
    ]
    print(f"{style}, {dataset}: largest relative error of a hand-off {max(errors):.1e}")
    assert max(errors) < 1e-5
    assert continued.texts == [text.strip() for text in theirs.texts]
    once = system.decoding.model_copy(update={"answer_retry": None})
    recursion.system = system.model_copy(update={"decoding": once})
    assert recursion.run(records).token_ids == theirs.ids
