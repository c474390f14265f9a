"""The report of the product's answers says what its answers say, and measuring goes on where it was stopped."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import answers
from recursivemas.system.files import sha256_of
from recursivemas.system.questions import load_questions

ROOT = Path(__file__).parents[2]
NAME = "townsfolk"
ASKED = 60  # So many that some have the same words and other facts.


class _Engine:
    """Answers as many questions as it is told to, always alike, and then breaks."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[Any] = []

    def run(self, question: str, fields: dict[str, str]) -> dict[str, Any]:
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append((question, fields))
        return {"answer": "Redbury"}


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Measures with an engine on an adapter, and returns the questions that it was asked, with their facts."""
    monkeypatch.setattr(answers, "EVIDENCE", tmp_path)
    monkeypatch.setattr(answers, "QUESTIONS", ASKED)
    monkeypatch.setattr(answers, "_reference", lambda system, links, quantization, records: ["Redbury"] * len(records))

    def run(most: int, adapter: str) -> list[Any]:
        engine = _Engine(most)

        @contextmanager
        def opened(*_: Any) -> Iterator[tuple[_Engine, str, str]]:
            yield engine, adapter, "q4f16_1"

        monkeypatch.setattr(answers, "_engine", opened)
        if most < ASKED:
            with pytest.raises(KeyboardInterrupt):
                answers.measure(NAME, Console(quiet=True))
        else:
            answers.measure(NAME, Console(quiet=True))
        return engine.asked

    return run


def test_measuring_goes_on_where_it_was_stopped_on_the_same_adapter_alone(measure: Any, tmp_path: Path) -> None:
    first = measure(ASKED - 1, "one adapter")
    assert len({question for question, _ in first}) < len(first) == ASKED - 1
    (last,) = measure(ASKED, "one adapter")
    assert last not in first
    assert measure(ASKED, "one adapter") == []
    assert measure(ASKED, "another adapter") == [*first, last]
    report = json.loads((tmp_path / f"bench-answers-{NAME}.json").read_text("utf-8"))
    assert (report["questions"], report["same_answers"]) == (ASKED, ASKED)
    assert report["product"] == report["pytorch"]


def test_the_report_counts_its_answers_and_is_of_the_links_that_ship() -> None:
    report = json.loads((ROOT / f"docs/evidence/bench-answers-{NAME}.json").read_text("utf-8"))
    assert report["links_sha256"] == sha256_of(ROOT / f"systems/links/{NAME}.recursivelink.json")
    assert report["questions"] == len(report["answers"]) == answers.QUESTIONS
    every = load_questions(ROOT / f"systems/data/{NAME}-test.jsonl")
    for each in report["answers"]:
        record = every[each["number"] - 1]
        assert (record.question, record.answer) == (each["question"], each["right_answer"])
    assert len({each["number"] for each in report["answers"]}) == answers.QUESTIONS
    for runtime in ("product", "pytorch"):
        right = sum(each[runtime].strip(" .").lower() == each["right_answer"].lower() for each in report["answers"])
        assert report[runtime]["right"] == right
    assert report["same_answers"] == sum(each["product"] == each["pytorch"] for each in report["answers"])
