"""The data sets that the paper reports, as questions with the columns that prompts show, and with tests of programs.

They come from the hub, or from files of the same columns. GPQA's choices are shuffled as the authors' runner does, so
that the same seed gives the same letters. A question is complete in our words; the raw parts of programming tasks are
fields, from which `rmas import-release` builds the authors' own wording.
"""

import base64
import hashlib
import io
import json
import pickle
import random
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.released_settings import SetName
from recursivemas.training.evaluation.released_scoring import released_right_letter
from recursivemas.training.tasks.hub_data import Row, file_rows, hub_rows

LETTERS = "ABCD"
SHOWN_ASSERTIONS = 3
_LETTERED = re.compile(r"^[ \t]*[A-D][ \t]*[.):-][ \t]+", re.IGNORECASE | re.MULTILINE)
_INSTRUCTION = "choose the correct option"
_TESTED_NAME = (
    re.compile(r"assertion\(\s*([A-Za-z_]\w*)\s*\(", re.ASCII),
    re.compile(r"assert\s+([A-Za-z_]\w*)\s*\(", re.ASCII),
)
_DEFINED_NAME = re.compile(r"^\s*def\s+([A-Za-z_]\w*)\s*\(", re.ASCII | re.MULTILINE)


@dataclass(frozen=True)
class CodeTests:
    """What a program has to pass.

    Attributes:
        kind: `script`: a script below the program, which ends with an error if it fails. `streams`: inputs on standard
            input and outputs on standard output. `calls`: arguments (JSON, a line each) and results (JSON) of a
            function.
        script: Of kind `script`.
        function: The function's name, of kind `calls`.
        inputs: Of the other kinds, with as many `outputs`.
    """

    kind: Literal["script", "streams", "calls"]
    script: str = ""
    function: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetQuestion:
    """A question of a data set.

    Attributes:
        record: As the agents are asked, with the right answer.
        released_answer: What the authors' runner takes for right; it is wrong in rare cases.
        tests: Of a programming task.
    """

    record: QuestionRecord
    released_answer: str
    tests: CodeTests | None = None


@dataclass(frozen=True)
class ReleasedSet:
    """Where a data set comes from, and how its rows are read."""

    source: str
    read: Callable[[Row, int], SetQuestion]
    files: tuple[str, ...] = ()


def load_set(name: SetName, source: str | None = None, seed: int = 42) -> list[SetQuestion]:
    """The questions of a data set, in its order.

    Args:
        name: Of the set.
        source: A file or hub data set of the same columns; the set's own by default.
        seed: Of the order of GPQA's choices.

    Raises:
        InputError: When the data cannot be read, or lack a column.
    """
    known = SETS[name]
    where = source or known.source
    path = Path(where)
    local = path.exists() or path.is_absolute() or path.suffix in (".json", ".jsonl", ".csv", ".parquet")
    rows: Iterable[Row] = file_rows(path) if local else hub_rows(where, () if source else known.files)
    questions = []
    for number, row in enumerate(rows, 1):
        try:
            questions.append(known.read(row, seed))
        except KeyError as error:
            raise InputError(
                f"{where}, row {number}: has no column {error}; it has {', '.join(map(str, row))}"
            ) from None
        except (ValueError, TypeError, zlib.error, pickle.UnpicklingError) as error:
            raise InputError(f"{where}, row {number}: not a row of {name}: {error}") from None
    if not questions:
        raise InputError(f"{where}: holds no questions")
    return questions


def _mathematics(row: Row, _seed: int) -> SetQuestion:
    group = next((str(row[key]) for key in ("subject", "level") if row.get(key) is not None), None)
    record = QuestionRecord(question=_text(row, "problem", "question"), answer=str(row["answer"]), group=group)
    return SetQuestion(record, record.answer)


def _gpqa(row: Row, seed: int) -> SetQuestion:
    stem = _text(row, "Question", "question")
    choices = [_text(row, "Correct Answer", "correct_answer")]
    choices += [_text(row, f"Incorrect Answer {n}", f"incorrect_answer_{n}") for n in (1, 2, 3)]
    digest = hashlib.md5(f"{seed}::{stem}".encode(), usedforsecurity=False).hexdigest()
    order = list(range(len(choices)))
    random.Random(int(digest[:16], 16)).shuffle(order)
    return _choice(stem, [choices[at] for at in order], LETTERS[order.index(0)], row.get("High-level domain"))


def _medqa(row: Row, _seed: int) -> SetQuestion:
    stem = _text(row, "query", "question")
    given = row["options"]
    options = list(given.values()) if isinstance(given, Mapping) else [str(each) for each in given]
    texts = [re.sub(r"^\s*[A-D]\s*[.):-]\s*", "", each).strip() for each in options]
    answer = str(row["answer"]).strip()
    if answer not in texts and not (len(answer) == 1 and answer in LETTERS[: len(texts)]):
        raise ValueError(f"answer {answer!r} is none of the options")
    letter = LETTERS[texts.index(answer)] if answer in texts else answer
    lettered = [f"{each}. {text}" for each, text in zip(LETTERS, texts, strict=False)]
    asked = _choice(stem, texts, letter, None, lettered=_LETTERED.search(stem) is not None)
    return SetQuestion(asked.record, released_right_letter(answer, lettered))


def _choice(stem: str, choices: Sequence[str], letter: str, group: object, lettered: bool = False) -> SetQuestion:
    """A question with its choices on lines below it, unless it has them already.

    The field `instructed` is there where the question itself asks to choose, as in the authors' file of MedQA: their
    prompts then do not ask again.
    """
    lines = [] if lettered else [f"{each}. {choice}" for each, choice in zip(LETTERS, choices, strict=True)]
    record = QuestionRecord(
        question="\n".join([stem, *lines]),
        answer=letter,
        choices=tuple(choices),
        group=None if group is None else str(group),
        fields={"instructed": "yes"} if _INSTRUCTION in stem.lower() else {},
    )
    return SetQuestion(record, letter)


def _mbpp_plus(row: Row, _seed: int) -> SetQuestion:
    statement, script = _text(row, "prompt"), str(row["test"])
    listed = [str(each) for each in row.get("test_list") or []]
    assertions = "\n".join(listed[:SHOWN_ASSERTIONS])
    name = _tested_name(script, listed, str(row.get("code") or ""))
    question = f"{statement}\n\nThese assertions must hold:\n{assertions}" if assertions else statement
    fields = {"statement": statement, "assertions": assertions, "fn_name": name, "task_type": "function"}
    return _program(question, fields, CodeTests("script", script=script))


def _tested_name(script: str, listed: Sequence[str], code: str) -> str:
    """The function that tests call: the last one in the script, else the first in the list or the reference."""
    for pattern in _TESTED_NAME:
        if names := pattern.findall(script):
            return str(names[-1])
    found = [match[1] for each in listed if (match := _TESTED_NAME[1].search(each))]
    return next(iter([*found, *_DEFINED_NAME.findall(code)]), "")


def _live_code_bench(row: Row, _seed: int) -> SetQuestion:
    statement, starter = _text(row, "question_content"), str(row.get("starter_code") or "")
    function = json.loads(row.get("metadata") or "{}").get("func_name") or ""
    tests = json.loads(row.get("public_test_cases") or "[]") + private_tests(str(row.get("private_test_cases") or ""))
    if not tests:
        raise ValueError("it has no tests")
    question = f"{statement}\n\nThe program begins so:\n{starter}" if starter.strip() else statement
    task_type = "function" if function else "complete"
    fields = {"statement": statement, "starter_code": starter, "fn_name": function, "task_type": task_type}
    inputs, outputs = (tuple(str(each[key]) for each in tests) for key in ("input", "output"))
    return _program(question, fields, CodeTests("calls" if function else "streams", "", function, inputs, outputs))


def _program(question: str, fields: dict[str, str], tests: CodeTests) -> SetQuestion:
    return SetQuestion(QuestionRecord(question=question, answer="", fields=fields), "", tests)


class _TextOnly(pickle.Unpickler):
    """Reads a pickle that holds plain values, and refuses every other: a pickle can name code that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"its tests are a pickle that names {module}.{name}")


def private_tests(packed: str) -> list[dict[str, str]]:
    """LiveCodeBench's hidden tests: JSON, or base64 of zlib of a pickled JSON text.

    Raises:
        ValueError: They are neither.
    """
    if not packed:
        return []
    try:
        tests = json.loads(packed)
    except json.JSONDecodeError:
        text = _TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load()
        tests = json.loads(text) if isinstance(text, str | bytes) else text
    if not isinstance(tests, list):
        raise ValueError(f"expected a list of tests, got {type(tests).__name__}")
    return tests


def _text(row: Row, *names: str) -> str:
    """The first of some columns that holds a text.

    Raises:
        KeyError: None does.
    """
    for name in names:
        if row.get(name) is not None and str(row[name]).strip():
            return str(row[name]).strip()
    raise KeyError(names[0])


SETS: dict[SetName, ReleasedSet] = {
    "math500": ReleasedSet("HuggingFaceH4/MATH-500:test", _mathematics),
    "aime25": ReleasedSet("math-ai/aime25:test", _mathematics),
    "aime26": ReleasedSet("math-ai/aime26:test", _mathematics),
    "gpqa": ReleasedSet("Idavidrein/gpqa/gpqa_diamond:train", _gpqa),
    "medqa": ReleasedSet("GBaker/MedQA-USMLE-4-options:test", _medqa),
    "mbppplus": ReleasedSet("evalplus/mbppplus:test", _mbpp_plus),
    "livecodebench": ReleasedSet(
        "livecodebench/code_generation_lite:test",
        _live_code_bench,
        ("test.jsonl", *(f"test{number}.jsonl" for number in range(2, 7))),
    ),
}
