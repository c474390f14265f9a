"""The townsfolk task: its questions, what agents say about them, and what the guide is taught."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from recursivemas.system.questions import check_fields, load_questions
from recursivemas.system.system import load_system
from recursivemas.training import make_data
from recursivemas.training.make_data import HELD_OUT_SEED
from recursivemas.training.tasks import townsfolk
from recursivemas.training.tasks.data import FIRST_TRAINING_SEED, HELD_OUT_GENERATORS, TrainingData
from recursivemas.training.tiny.models import build_tokenizer
from recursivemas.training.train.role_texts import load_role_texts

SYSTEMS = Path(__file__).parents[2] / "systems"
COUNT = 240


def stories(held_out: bool) -> list[townsfolk.Story]:
    rng = random.Random(3)
    kinds = itertools.islice(itertools.cycle(townsfolk.ORDER), COUNT)
    return [townsfolk.draw(rng, kind, held_out) for kind in kinds]


def test_training_and_held_out_questions_ask_about_different_people() -> None:
    asked = [{story.people[story.asked] for story in stories(held_out)} for held_out in (False, True)]
    assert not asked[0] & asked[1]
    assert min(map(len, asked)) > COUNT // 3


def test_facts_lead_to_the_answer_and_halves_of_names_do_not() -> None:
    for story in stories(True):
        person = story.people[story.asked]
        if story.about_manager:
            person = story.people[story.managers[story.asked]]
        town = next(town for each, town in zip(story.people, story.towns, strict=True) if each == person)
        assert story.answer in (town, townsfolk.RIVER_OF[town])
        assert sorted(story.managers) == [0, 1, 2, 3]
        for half in (0, 1):
            halves = [each.split()[half] for each in story.people]
            assert all(halves.count(each) == 2 for each in halves)
        assert story.question.count(story.trades[story.asked]) == 1
        assert not any(name in story.question for name in story.people)
        sentences = f"{story.reader_facts} {story.solver_facts}".split(". ")
        assert all(sentence.rstrip(".") in story.all_facts for sentence in sentences)


def test_the_conversation_answers_in_the_first_round_that_can() -> None:
    for story in stories(False):
        said = townsfolk.exchanges(story)
        known = [each.notes == story.town for each in said]
        assert known.index(True) == story.first_round - 1
        assert all(known[story.first_round - 1 :])
        assert said[0].request is None


def test_questions_are_drawn_from_seeds_and_files_hold_them() -> None:
    generated = TrainingData("generator:townsfolk", 0).batch(1, 5, 6)
    assert generated == TrainingData("generator:townsfolk", 0).batch(1, 5, 6)
    assert {record.fields["first_round"] for record in generated} == {"2", "3"}
    assert HELD_OUT_SEED < FIRST_TRAINING_SEED
    held = load_questions(SYSTEMS / "data" / "townsfolk-test.jsonl")
    assert held == HELD_OUT_GENERATORS["townsfolk"](HELD_OUT_SEED, len(held))
    assert len(held) >= 500


def test_training_asks_several_questions_about_a_story() -> None:
    drawn = TrainingData("generator:townsfolk", 0).batch(1, 5, 12)
    assert [record.group for record in drawn] == [*townsfolk.ORDER] * 2
    for records in (drawn[:6], drawn[6:]):
        assert len({record.fields["reader_facts"] for record in records}) == 1
        assert len({record.question for record in records}) > 3


def test_role_texts_are_read_and_their_prompts_are_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["make_data", "--out", str(tmp_path), "--role-texts", "200"])
    make_data.main()
    assert {text.agent for text in load_role_texts(tmp_path / "townsfolk-thoughts.jsonl")} == {
        "reader",
        "guide",
        "solver",
    }
    kinds = [text.kind for text in load_role_texts(tmp_path / "townsfolk-roles.jsonl")]
    assert len(kinds) == 200 and 60 < kinds.count("answer") < 100
    system = load_system(SYSTEMS / "townsfolk.yaml")
    check_fields(system, load_questions(SYSTEMS / "data" / "townsfolk-test.jsonl")[:3])


def test_the_guide_learns_every_rivers_two_pieces() -> None:
    batch = 64
    tokenizer = build_tokenizer(townsfolk.words(), ("<unk>", "<bos>", "<eos>"), seed=1)
    vocabulary = tokenizer.get_vocab()
    drawn = townsfolk.pretraining_batch(np.random.default_rng(0), vocabulary, batch)
    assert drawn.ids.shape == (batch, 8)
    towns = 0
    for ids, scored in zip(drawn.ids, drawn.scored, strict=True):
        words = tokenizer.decode(ids.tolist(), skip_special_tokens=False).replace("<eos>", "").split()
        if len(words) == 5 and words[2] in townsfolk.RIVER_OF:
            towns += 1
            assert words[4] == townsfolk.RIVER_OF[words[2]]
        assert scored.sum() == 3
    assert towns > batch // 2
    assert len({tuple(tokenizer.encode(town).ids) for town in townsfolk.TOWNS}) == len(townsfolk.TOWNS) == 336
