"""The paper's data sets as questions, and programs against their tests."""

import base64
import csv
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.completeness import code_block
from recursivemas.system.errors import InputError
from recursivemas.training.evaluation.code_process import refusal
from recursivemas.training.evaluation.code_tests import passes, program_in, same_output
from recursivemas.training.evaluation.released_sets import CodeTests, load_set, private_tests
from recursivemas.training.tasks.scoring import is_right
from tests.training.test_released_scoring import needs_source, released

runs_code = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


GPQA = {
    "Question": " Which star? ",
    "Correct Answer": "Vega",
    **{f"Incorrect Answer {n}": name for n, name in enumerate(("Sirius", "Rigel", "Deneb"), 1)},
}
MEDQA = {"question": "Which drug?", "options": ["A. One", "B. Two", "C. Three", "D. Four"], "answer": "Three"}
MBPP = {
    "task_id": 2,
    "prompt": "Write a function to add.",
    "code": "def plus(a, b):\n    return a + b",
    "test": "def assertion(out, exp):\n    assert out == exp\nassertion(plus(1, 2), 3)\nassertion(plus(2, 2), 4)",
    "test_list": [
        "assert plus(1, 2) == 3",
        "assert plus(2, 2) == 4",
        "assert plus(0, 0) == 0",
        "assert plus(9, 9) == 18",
    ],
}
LCB = {
    "question_content": "Add two numbers.",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": "",
    "metadata": "{}",
}


def test_load_set_reads_mathematics_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, repo_type: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    written(tmp_path / "test.jsonl", {"problem": "1 + 1?", "answer": "2", "subject": "Algebra", "level": 1})
    (found,) = load_set("math500")
    assert (found.record.question, found.record.answer, found.record.group) == ("1 + 1?", "2", "Algebra")
    written(tmp_path / "test.jsonl", {"problem": "2 + 2?", "answer": 4, "id": "0"})
    assert load_set("aime26")[0].record.answer == "4"
    for number in ("", 2, 3, 4, 5, 6):
        written(tmp_path / f"test{number}.jsonl", {**LCB, "question_content": f"Part {number}"})
    assert [each.record.question for each in load_set("livecodebench")] == ["Part", *(f"Part {n}" for n in range(2, 7))]
    assert asked == ["HuggingFaceH4/MATH-500", "math-ai/aime26", "livecodebench/code_generation_lite"]


def test_load_set_shuffles_the_choices_of_gpqa_by_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "gpqa_diamond.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, GPQA)
        writer.writeheader()
        writer.writerow(GPQA)
    orders = []
    for seed in (42, 42, 43, 44, 45):
        (found,) = load_set("gpqa", str(path), seed)
        record = found.record
        assert record.choices is not None and record.choices["ABCD".index(record.answer)] == "Vega"
        lines = [f"{letter}. {choice}" for letter, choice in zip("ABCD", record.choices, strict=True)]
        assert record.question == "\n".join(["Which star?", *lines])
        assert is_right("The answer is Vega", record, "choice") and is_right(f"({record.answer})", record, "choice")
        orders.append(record.choices)
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


@pytest.mark.parametrize(
    "row",
    [
        MEDQA,
        {**MEDQA, "options": {"A": "One", "B": "Two", "C": "Three", "D": "Four"}, "answer_idx": "C"},
        {**MEDQA, "answer": "C"},
        {**MEDQA, "query": "Which drug?\nA. One\nB. Two\nC. Three\nD. Four"},
    ],
)
def test_load_set_reads_medqa_with_its_options_below(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "medqa.json").write_text(json.dumps([row]))
    (found,) = load_set("medqa", str(tmp_path / "medqa.json"))
    assert found.record.question == "Which drug?\nA. One\nB. Two\nC. Three\nD. Four"
    assert (found.record.answer, found.released_answer) == ("C", "C")
    assert found.record.choices == ("One", "Two", "Three", "Four")
    assert found.record.fields == {}
    asking = {**row, "question": f"{found.record.question}\nChoose the correct option.", "query": None}
    (tmp_path / "medqa.json").write_text(json.dumps([asking]))
    (asked,) = load_set("medqa", str(tmp_path / "medqa.json"))
    assert (asked.record.question, asked.record.fields) == (asking["question"], {"instructed": "yes"})


def test_load_set_reads_programming_tasks_with_fields_and_tests(tmp_path: Path) -> None:
    (mbpp,) = load_set("mbppplus", written(tmp_path / "mbpp.jsonl", MBPP))
    shown = "\n".join(MBPP["test_list"][:3])  # type: ignore[index]
    expected = {"statement": MBPP["prompt"], "assertions": shown, "fn_name": "plus", "task_type": "function"}
    assert mbpp.record.fields == expected
    assert mbpp.record.question.endswith(shown) and mbpp.tests == CodeTests("script", script=str(MBPP["test"]))
    hidden = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{"input": "2", "output": "4"}])))).decode()
    calls = {
        **LCB,
        "private_test_cases": hidden,
        "metadata": '{"func_name": "twice"}',
        "starter_code": "class Solution:",
    }
    streams, functional = load_set("livecodebench", written(tmp_path / "lcb.jsonl", LCB, calls))
    assert streams.tests == CodeTests("streams", inputs=("1 2\n",), outputs=("3\n",))
    assert functional.tests == CodeTests("calls", "", "twice", ("1 2\n", "2"), ("3\n", "4"))
    assert functional.record.fields["task_type"] == "function"
    assert "class Solution:" in functional.record.question


def test_private_tests_unpickle_no_code() -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    packed = base64.b64encode(zlib.compress(pickle.dumps(Harmful()))).decode()
    with pytest.raises(pickle.UnpicklingError, match=r"names builtins\.print"):
        private_tests(packed)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("math500", {"prompt": "?"}, r"row 1: has no column 'problem'; it has prompt$"),
        ("gpqa", {"Question": "?", "Correct Answer": "x"}, "row 1: has no column 'Incorrect Answer 1'; it has"),
        ("medqa", {**MEDQA, "answer": "Five"}, "row 1: not a row of medqa: answer 'Five' is none of the options$"),
        ("livecodebench", {**LCB, "public_test_cases": "[]"}, "row 1: not a row of livecodebench: it has no tests$"),
        ("livecodebench", {**LCB, "private_test_cases": "!"}, "row 1: not a row of livecodebench: "),
    ],
)
def test_load_set_names_the_row_that_does_not_fit(tmp_path: Path, name: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_set(name, written(tmp_path / "set.jsonl", row))


ADD = "def plus(a, b):\n    return a + b"
SCRIPT = CodeTests("script", script=str(MBPP["test"]))
STREAMS = CodeTests("streams", inputs=("1 2\n", "2.5 2\n"), outputs=("3\n", "4.5\n"))
CALLS = CodeTests("calls", "", "plus", ("1\n2", "[1]\n[2]"), ("3", "[1, 2]"))
# Answers, tests, and whether they pass by the authors' rules and by ours.
PROGRAMS = [
    (f"So:\n```python\n{ADD}\n```", SCRIPT, True, True),
    ("```python\ndef plus(a, b):\n    return a - b\n```", SCRIPT, False, False),
    ("```python\nimport os\nos._exit(0)\n```", SCRIPT, True, False),
    (f"```python\nx = 1\n```\nbetter:\n```python\n{ADD}\n```", SCRIPT, False, True),
    (ADD, SCRIPT, False, True),
    (f"```\n{ADD}\n```", SCRIPT, False, True),
    (f"```python\n{ADD.replace('a + b', 'floor(a + b)')}\n```", SCRIPT, True, False),
    ("```python\nwhile True: pass\n```", SCRIPT, False, False),
    ("I cannot.", SCRIPT, False, False),
    ("```python\nprint(sum(map(float, input().split())))\n```", STREAMS, True, True),
    ("```python\nprint(int(input().split()[0]) + 2)\n```", STREAMS, False, False),
    ("```python\nclass Solution:\n    def plus(self, a, b):\n        return a + b\n```", CALLS, True, True),
    (f"```python\n{ADD.replace('return', 'print(a); return')}\n```", CALLS, False, True),
    ("```python\ndef other(a, b):\n    return a + b\n```", CALLS, False, False),
]


@runs_code
@pytest.mark.parametrize(("answer", "tests", "released_verdict", "our_verdict"), PROGRAMS)
def test_passes_by_both_rules(answer: str, tests: CodeTests, released_verdict: bool, our_verdict: bool) -> None:
    seconds = 1.5 if "while True" in answer else 60.0  # a busy machine starts programs slowly
    assert passes(answer, tests, "released", seconds) is released_verdict
    assert passes(answer, tests, "ours", seconds) is our_verdict


@needs_source
@runs_code
def test_verdicts_on_programs_agree_with_the_authors_code() -> None:
    def sample(tests: CodeTests) -> dict[str, Any]:
        mode = {"script": "mbppplus_script", "streams": "stdin", "calls": "functional"}[tests.kind]
        asked = {"mode": mode, "test_script": tests.script, "fn_name": tests.function, "num_tests": 1}
        return {**asked, "inputs": tests.inputs, "outputs": tests.outputs}

    answers = [answer for answer, *_ in PROGRAMS]
    answers += [
        "<think>```python\nx\n```</think>```Python\ny\n```",
        "```python3\nz\n```",
        "```python\n\n```",
        "```python",
    ]
    rows = [MBPP, {**MBPP, "test": "assert twice(2) == 4"}, {**MBPP, "test": "x", "test_list": []}]
    theirs = released(
        {"code": answers, "verdicts": [(answer, sample(tests)) for answer, tests, *_ in PROGRAMS], "names": rows}
    )
    assert [code_block(answer) for answer in answers] == theirs["code"]
    assert [verdict for _, _, verdict, _ in PROGRAMS] == theirs["verdicts"]
    assert theirs["names"] == ["plus", "twice", "plus"]


def test_program_in_takes_the_last_block_and_one_that_is_not_closed() -> None:
    assert program_in("```python\na = 1\n```\n```py\nb = 2\n```", "ours") == "b = 2"
    assert program_in("Here:\n```python\na = 1\n", "ours") == "a = 1"
    assert program_in("<think>\n```python\na = 1\n```</think> none", "ours") == ""


@pytest.mark.parametrize(
    ("printed", "wanted", "expected"),
    [("1\n2\n", "1\n2", True), (" 1 \n2", "1\n2.0", True), ("1 2", "1\n2", False), ("a", "b", False), ("", " ", True)],
)
def test_same_output_compares_lines_and_numbers(printed: str, wanted: str, expected: bool) -> None:
    assert same_output(printed, wanted) is expected
