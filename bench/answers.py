"""Answers of systems of published models, as they are built, beside PyTorch's: how many are right, how many the same.

The engine runs in Node on the adapter of this machine, with the build that this adapter takes: float16 where it can.
PyTorch runs in float32 on the weights that the build stores. The agents' packages must be there (`rmas fetch`).

An adapter in software takes minutes for a question. Every answer is therefore written when it came, and the same
command goes on where it was stopped, as long as the system, its links, the adapter and the versions are the same.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench._shipped import EVIDENCE, ROOT, spread
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.system.system import System, load_system
from recursivemas.training.evaluation.statistics import wilson
from recursivemas.training.tasks.scoring import is_right

if TYPE_CHECKING:
    from harness.engine_node import EngineNode

NAMES = ("townsfolk",)
QUESTIONS = 100


def main() -> None:
    """Asks every system and writes `docs/evidence/bench-answers-<system>.json`."""
    for name in NAMES:
        measure(name, Console())


def measure(name: str, console: Console) -> None:
    """One system."""
    out, links = EVIDENCE / f"bench-answers-{name}.json", ROOT / f"systems/links/{name}.recursivelink.json"
    system = load_system(ROOT / f"systems/{name}.yaml")
    records = _questions(system)
    with _engine(name, links) as (engine, adapter, quantization):
        made = {
            "system": name,
            "links_sha256": sha256_of(links),
            "where": f"Node on {adapter}, {quantization}, against PyTorch in float32 with the same weights",
            "versions": {each: importlib.metadata.version(each) for each in ("recursivemas", "apache-tvm", "torch")},
        }
        before = json.loads(out.read_text("utf-8")) if out.is_file() else {}
        kept = before.get("answers", []) if made.items() <= before.items() else []
        answers = {each["number"]: each for each in kept}
        missing = {number: record for number, record in records.items() if number not in answers}
        expected = _reference(system, links, quantization, list(missing.values())) if missing else []
        for (number, record), theirs in zip(missing.items(), expected, strict=True):
            answers[number] = {
                "number": number,
                "question": record.question,
                "right_answer": record.answer,
                "product": engine.run(record.question, fields=record.fields)["answer"],
                "pytorch": theirs,
            }
            write_text_atomic(out, json.dumps(_report(made, system, records, answers), indent=1) + "\n")
            console.print(f"{len(answers)} of {len(records)}: {record.question} {answers[number]['product']}")
    report = _report(made, system, records, answers)
    console.print({key: value for key, value in report.items() if key != "answers"})


def _report(
    made: dict[str, Any], system: System, records: Mapping[int, QuestionRecord], answers: Mapping[int, dict[str, Any]]
) -> dict[str, Any]:
    assert system.task is not None
    asked = [each for each in records if each in answers]
    summary: dict[str, Any] = {}
    for runtime in ("product", "pytorch"):
        right = sum(is_right(answers[each][runtime], records[each], system.task.scoring) for each in asked)
        low, high = wilson(right, len(asked))
        summary[runtime] = {"right": right, "low": round(low, 4), "high": round(high, 4)}
    return {
        "command": "python -m bench answers",
        **made,
        "rounds": system.rounds,
        "questions": len(asked),
        **summary,
        "same_answers": sum(answers[each]["product"] == answers[each]["pytorch"] for each in asked),
        "answers": [answers[each] for each in asked],
    }


@contextmanager
def _engine(name: str, links: Path) -> "Iterator[tuple[EngineNode, str, str]]":
    """The engine with the system, the adapter's name, and the quantization of the build that it took."""
    from harness.engine_node import open_engine
    from harness.engine_page import build_harness
    from harness.node import NoAdapterError
    from recursivemas import build

    with tempfile.TemporaryDirectory(prefix="rmas-answers-") as scratch:
        folder = Path(scratch, "systems", name)
        build(ROOT / f"systems/{name}.yaml", links, folder)
        try:
            with open_engine(build_harness(Path(scratch, "harness")), folder.parent) as engine:
                loaded = engine.load(folder)
                yield engine, engine.adapter, loaded["system"]["agents"][0]["quantization"]
        except NoAdapterError as error:
            raise InputError(f"no WebGPU adapter here: {error}") from None


def _reference(system: System, links: Path, quantization: str, records: Sequence[QuestionRecord]) -> list[str]:
    """PyTorch's answers."""
    from recursivemas.system.links_file import load_links
    from recursivemas.training.loading import load_recursion

    stored = system.model_copy(update={"quantization": quantization})
    return load_recursion(stored, load_links(links), "cpu", "float32", "dequantised").run(records).texts


def _questions(system: System) -> dict[int, QuestionRecord]:
    """Held-out questions by their number in the file, from 1, evenly spread. Several may have the same words."""
    assert system.task is not None and system.task.data is not None
    return dict(spread(list(enumerate(load_questions(system.task.data), start=1)), QUESTIONS))


if __name__ == "__main__":
    main()
