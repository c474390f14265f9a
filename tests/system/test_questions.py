"""Columns of question records: which become fields, what prompts may show, and what is missing."""

import json
from pathlib import Path

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord, check_fields, load_questions
from recursivemas.system.system import System
from tests.system.test_system import parse, sequential


def asking(prompt: str) -> System:
    agents = sequential()["agents"]
    agents[1]["prompt"] = prompt + " {latent:a->b}"
    return parse(agents=agents)


def test_load_questions_makes_fields_of_other_columns(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "a", "fn_name": "f", "hops": 2, "hard": True, "note": None, "tests": ["x"]}
    path = tmp_path / "data.jsonl"
    path.write_text(
        json.dumps(row) + "\n" + json.dumps({"question": "q", "answer": "a", "fields": {"x": "y"}, "z": ""})
    )
    first, second = load_questions(path)
    assert first.fields == {"fn_name": "f", "hops": "2", "hard": "true"}
    assert second.fields == {"z": "", "x": "y"}
    assert QuestionRecord.parse(second.model_dump(mode="json", exclude_none=True), "questions.json") == second
    assert QuestionRecord(question="q", answer="a").model_dump(exclude_none=True) == {"question": "q", "answer": "a"}


def test_questions_of_a_build_are_closed() -> None:
    with pytest.raises(InputError, match=r"questions.json: unknown key 'fn_name'"):
        QuestionRecord.parse({"question": "q", "answer": "a", "fn_name": "f"}, "questions.json")


def test_values_are_what_a_prompt_may_show() -> None:
    record = QuestionRecord(
        question="q", answer="secret", choices=("one", "two"), group="g", fields={"x": "y", "answer": "secret"}
    )
    assert record.values == {"question": "q", "choices": "A. one\nB. two", "group": "g", "x": "y"}


def test_check_fields_names_agent_field_and_question() -> None:
    records = [
        QuestionRecord(question="q", answer="a", fields={"facts": "x"}),
        QuestionRecord(question="p", answer="a"),
    ]
    check_fields(asking("{question} {facts}"), records[:1])
    with pytest.raises(InputError, match=r"^agent 'b': prompt needs the field 'facts', which question 2 \('p'\) does"):
        check_fields(asking("{question} {facts}"), records)
    with pytest.raises(InputError, match=r"question 1 \('q'\) does not have; did you mean 'facts'\?"):
        check_fields(asking("{fact}"), records)
    check_fields(asking("{question}{if facts} {facts}{end}"), records)
    with pytest.raises(InputError, match=r"needs the field 'choices', which question 1"):
        check_fields(asking("{question} {choices}"), ["q"])
    with pytest.raises(InputError, match=r"agent 'b': prompt has no \{question\} slot, nor one of another field"):
        asking(" ")
