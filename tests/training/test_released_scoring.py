"""The authors' verdicts, restated: known cases, and several hundred pairs against a copy of their code."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recursivemas.training.evaluation.released_scoring import (
    released_choice_is_right,
    released_mathematics_is_right,
    released_right_letter,
)

SOURCE = os.environ.get("RECURSIVEMAS_SOURCE_DIR")
needs_source = pytest.mark.skipif(SOURCE is None, reason="RECURSIVEMAS_SOURCE_DIR names no copy of the authors' code")


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        (r"\boxed{3.9}", "3.1", True),
        (r"\boxed{(3, 5)}", "(3, 4)", True),
        (r"\boxed{4/3}", "43", True),
        (r"\boxed{2}", r"\frac{4}{3}", False),
        (r"\boxed{\frac{3}{4}}", "0.9", True),
        ("Final answer: x = 7", "7", True),
        (r"\boxed{1 and 2}", "12", True),
        (r"\boxed{\text{Evelyn}}", "Evelyn", True),
        ("I do not know.", "x", False),
        ("", "0", False),
    ],
)
def test_released_mathematics_judges_loosely(answer: str, right: str, expected: bool) -> None:
    assert released_mathematics_is_right(answer, right) is expected


def test_released_choice_takes_what_it_cannot_read_for_a() -> None:
    assert released_choice_is_right("I do not know.", "A")
    assert not released_choice_is_right("I do not know.", "B")
    assert released_choice_is_right("the correct option is not B, but answer: c", "C")
    assert released_choice_is_right("(d) green", "D")


def test_released_right_letter_takes_the_first_option_that_holds_the_answer() -> None:
    options = ["A. Iron anemia", "B. Anemia", "C. Fever", "D. None"]
    assert released_right_letter("Anemia", options) == "A"
    assert released_right_letter("fever", options) == "C"
    assert released_right_letter("B", options) == "B"
    assert released_right_letter("Cough", options) == "A"


NUMBERS = ["7", "-3", "0", "007", "1,234", "0.75", "3.14", r"\frac{3}{4}", r"\frac{-6}{8}", r"\frac{1}{0}", "12", "1e3"]
EXPRESSIONS = [r"\text{Evelyn}", r"\left( 3, \frac{\pi}{2} \right)", "(3,4)", "p - q", "p-q", r"90^\circ", r"2\sqrt{3}"]
EXPRESSIONS += [r"\$5", "x^2+1", "six", "-", "A", "'a'", r"\{1, 2\}", "1.5.2", r"\frac{12345678901}{3}", "٣"]
FORMS = [r"\boxed{%s}", r"so \boxed{1} or \boxed{%s}.", "Final Answer: %s", "It is %s.", "%s", "Final answer:\n%s"]
SENTENCES = ["B", "(c) green", "Answer: D", "the correct option is b", r"\boxed{C}", r"\boxed{\text{D}}", "none", ""]
SENTENCES += ["A dog", "Final Choice: (B) red", "choice - c\nFinal answer: d", "I say B.", "option[a]", r"\boxed{x} C:"]
OPTIONS = ["A. red", "B. Dark red", "C) answer is D", "D: None of these"]

# Runs in a process of its own, so that nothing of the copy is imported here.
JUDGE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from inference_utils import answer_utils, lcb_utils
asked = json.load(sys.stdin)
json.dump({
    "mathematics": [answer_utils.compare_answers(r, a, "math500")[2] for a, r in asked["mathematics"]],
    "choice": [answer_utils.compare_answers(r, a, "medqa")[2] for a, r in asked["choice"]],
    "letters": [answer_utils.medqa_gold_to_choice({"answer": a, "options": o}) for a, o in asked["letters"]],
    "code": [lcb_utils.extract_python_code(a) for a in asked["code"]],
    "verdicts": [lcb_utils.evaluate_generated_code(lcb_utils.extract_python_code(a), t, 3)["all_passed"]
                 for a, t in asked["verdicts"]],
    "names": [lcb_utils.build_mbppplus_sample_meta(row)["fn_name"] for row in asked["names"]],
}, sys.stdout)
"""


def released(asked: dict[str, object]) -> dict[str, list[object]]:
    """What the copy says of the cases; missing kinds are empty."""
    base = Path(str(SOURCE))
    root = base / "inference" if (base / "inference/inference_utils/answer_utils.py").exists() else base
    every = {key: [] for key in ("mathematics", "choice", "letters", "code", "verdicts", "names")} | asked
    command = [sys.executable, "-c", JUDGE, str(root)]
    done = subprocess.run(command, input=json.dumps(every), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


@needs_source
def test_verdicts_on_answers_agree_with_the_authors_code() -> None:
    rights = [*NUMBERS, *EXPRESSIONS]
    said = [form % text for form, text in itertools.product(FORMS, rights)]
    mathematics = [(a, r) for number, (a, r) in enumerate(itertools.product(said, rights)) if number % 5 == 0 or r in a]
    choice = list(itertools.product([*SENTENCES, *said[:40]], ["A", "B", "C", "d", "green", ""]))
    letters = [(answer, OPTIONS) for answer in [*SENTENCES, "red", "Dark  Red", "none of these", "is D", "green"]]
    theirs = released({"mathematics": mathematics, "choice": choice, "letters": letters})
    assert len(mathematics) > 700 and len(choice) > 300
    ours = [released_mathematics_is_right(answer, right) for answer, right in mathematics]
    assert [case for case, a, b in zip(mathematics, ours, theirs["mathematics"], strict=True) if a != b] == []
    assert 50 < sum(ours) < len(ours) - 50
    picked = [released_choice_is_right(answer, right) for answer, right in choice]
    assert [case for case, a, b in zip(choice, picked, theirs["choice"], strict=True) if a != b] == []
    assert [released_right_letter(answer, options) for answer, options in letters] == theirs["letters"]
