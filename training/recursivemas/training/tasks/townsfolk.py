"""The townsfolk task: questions in words whose facts are split between agents.

The reader's facts say where four people live and who manages whom. The solver's facts say who has which trade, and only
the solver sees the question. The guide has no facts in its prompt: it has learned which river flows through each of 336
towns. `Which river flows through the town where the baker's manager lives?` needs all of them in turn: the solver knows
who the baker is, the reader the baker's manager, the solver asks again, the reader knows the manager's town and the
guide its river. Questions have one to three hops behind the trade. Nobody knows in round 1 what is asked; round 2
answers questions about the person with the trade, round 3 those about the manager.

Names have two tokens of SmolLM2's tokenizer each. The four people share two first and two last names, so that half a
name says little. A request for a manager takes three tokens: `Anna Keller manager`.
"""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.tasks.sequences import Batch, Part, join_parts

_WORDS = {
    "first_names": (
        "Adam Alice Andrew Anna Arthur Ben Charles Chris Daniel David Donald Edward Elizabeth Emily Frank "
        "Fred George Henry Jack Jacob James Jane Jean Jeff John Joseph Lewis Lily Louis Luke Maria Marie Mark "
        "Martin Mary Matthew Max Michael Neil Paul Peter Richard Robert Samuel Sarah Simon Stephen Thomas Tom "
        "Victor Virginia William"
    ),
    "last_names": (
        "Anderson Barnes Bell Bennett Berg Brown Burke Butler Carter Clarke Cohen Collins Cooper Costa Cox "
        "Dixon Dunn Evans Fischer Foster Garcia Gardner Graham Hart Hayes Holmes Hughes Hunt Keller Kim Klein "
        "Lane Meyer Mitchell Moore Morris Murphy Nelson Palmer Patel Perry Porter Powell Reed Rivera Rogers "
        "Silva Singh Stone Torres Walsh Weber"
    ),
    "trades": (
        "baker cook dancer doctor driver farmer gardener guard hunter lawyer nurse painter pilot sailor "
        "singer teacher writer"
    ),
    "town_beginnings": (
        "Ash Corn Ever Hal Ham Hem Hol Led Lin Lock Mal Med Mel Mil New Old Red Rom Sal Sil Stan Tam Tel Vel "
        "Wal Wil Win Wood"
    ),
    "town_endings": "beck bridge by combe ham holm hurst minster ney well wick worth",
    "river_beginnings": "Ash Corn Ever Hal Led Lock Med New Red Sal Wal Wood",
    "river_endings": "brook burn stream water",
}
FIRST_NAMES = tuple(_WORDS["first_names"].split())
LAST_NAMES = tuple(_WORDS["last_names"].split())
TRADES = tuple(_WORDS["trades"].split())
TOWN_BEGINNINGS = tuple(_WORDS["town_beginnings"].split())
TOWN_ENDINGS = tuple(_WORDS["town_endings"].split())
RIVER_BEGINNINGS = tuple(_WORDS["river_beginnings"].split())
RIVER_ENDINGS = tuple(_WORDS["river_endings"].split())
TOWNS = tuple(begin + end for begin, end in itertools.product(TOWN_BEGINNINGS, TOWN_ENDINGS))
RIVERS = tuple(begin + end for begin, end in itertools.product(RIVER_BEGINNINGS, RIVER_ENDINGS))
_world = random.Random(5)
RIVER_OF = {town: _world.choice(RIVERS) for town in TOWNS}
"""What the guide knows."""

NOTHING, NO_TOWN, UNKNOWN = "nothing yet", "no town", "unknown"
"""What reader, guide and solver say when they cannot know."""
MANAGER = "manager"
"""What a request for a person's manager says beside the name."""

HOME_FACTS = ("{person} lives in {town}.", "{person}'s home is in {town}.", "{person} has a house in {town}.")
MANAGER_FACTS = ("{person}'s manager is {manager}.", "{person} works for {manager}.", "{person} reports to {manager}.")
TRADE_FACTS = ("{person} is the {trade}.", "The {trade} is {person}.")
RIVER_FACTS = ("The river of {town} is the {river}.", "The {river} flows through {town}.")
QUESTIONS = {
    "home": ("Where does the {trade} live?", "In which town does the {trade} live?"),
    "river": (
        "Which river flows through the town where the {trade} lives?",
        "What is the river of the {trade}'s town?",
    ),
    "manager's home": (
        "Where does the {trade}'s manager live?",
        "In which town does the manager of the {trade} live?",
    ),
    "manager's river": (
        "Which river flows through the town where the {trade}'s manager lives?",
        "What is the river of the town of the {trade}'s manager?",
    ),
}
ORDER = ("home", "manager's home", "manager's river", "river", "manager's home", "manager's river")
"""Kinds of neighbouring questions: two in three ask about a manager."""
GUIDE_WORDS = ("place", "river")
"""What frames a town in the guide's prompt."""
PIECE = "##"
"""What begins a word's later pieces in the guide's vocabulary."""
HELD_OUT_SHARE = 5
"""One person in five is asked about in held-out questions only."""


def is_held_out(person: str) -> bool:
    """Whether only held-out questions ask about a person."""
    first, last = person.split()
    return (FIRST_NAMES.index(first) + LAST_NAMES.index(last)) % HELD_OUT_SHARE == 0


@dataclass(frozen=True)
class Story:
    """Four people, and a question about one of them.

    Attributes:
        people: Their names.
        towns: Where each lives.
        managers: The place in `people` of each one's manager; nobody manages themselves.
        trades: What each does.
        asked: The place of the one whose trade the question names.
        kind: A key of `QUESTIONS`.
        question: The question.
        reader_facts: Homes and managers, in any order.
        solver_facts: Trades, in any order.
        all_facts: Both, and the river of every town, in any order.
    """

    people: tuple[str, ...]
    towns: tuple[str, ...]
    managers: tuple[int, ...]
    trades: tuple[str, ...]
    asked: int
    kind: str
    question: str
    reader_facts: str
    solver_facts: str
    all_facts: str

    @property
    def about_manager(self) -> bool:
        """Whether the question is about the manager of the one with the trade."""
        return "manager" in self.kind

    @property
    def person(self) -> str:
        """Whose town or river is asked for."""
        return self.people[self._goal]

    @property
    def town(self) -> str:
        """Where that person lives."""
        return self.towns[self._goal]

    @property
    def answer(self) -> str:
        """The right answer."""
        return RIVER_OF[self.town] if "river" in self.kind else self.town

    @property
    def first_round(self) -> int:
        """The first round, counted from 1, that can answer."""
        return 3 if self.about_manager else 2

    @property
    def _goal(self) -> int:
        return self.managers[self.asked] if self.about_manager else self.asked


def draw(rng: random.Random, kind: str, held_out: bool) -> Story:
    """Draws a story; the question asks about a person whom only held-out questions ask about, or never do."""
    while True:
        firsts, lasts = rng.sample(FIRST_NAMES, 2), rng.sample(LAST_NAMES, 2)
        people = [f"{first} {last}" for first, last in itertools.product(firsts, lasts)]
        possible = [index for index, person in enumerate(people) if is_held_out(person) == held_out]
        if possible:
            break
    count = len(people)
    towns, trades, ring = rng.sample(TOWNS, count), rng.sample(TRADES, count), rng.sample(range(count), count)
    managers = [ring[(ring.index(index) + 1) % count] for index in range(count)]
    asked = rng.choice(possible)
    reader = [rng.choice(HOME_FACTS).format(person=person, town=towns[at]) for at, person in enumerate(people)]
    reader += [
        rng.choice(MANAGER_FACTS).format(person=person, manager=people[managers[at]])
        for at, person in enumerate(people)
    ]
    solver = [rng.choice(TRADE_FACTS).format(person=person, trade=trades[at]) for at, person in enumerate(people)]
    rivers = [rng.choice(RIVER_FACTS).format(town=town, river=RIVER_OF[town]) for town in towns]
    every = [*reader, *solver, *rivers]
    for facts in (reader, solver, every):
        rng.shuffle(facts)
    question = _question(rng, kind, trades[asked])
    facts_of = (" ".join(facts) for facts in (reader, solver, every))
    return Story(tuple(people), tuple(towns), tuple(managers), tuple(trades), asked, kind, question, *facts_of)


def ask_again(rng: random.Random, story: Story, kind: str) -> Story:
    """The same story with another question, about a person of the same set."""
    held_out = is_held_out(story.people[story.asked])
    asked = rng.choice([index for index, person in enumerate(story.people) if is_held_out(person) == held_out])
    return replace(story, asked=asked, kind=kind, question=_question(rng, kind, story.trades[asked]))


def _question(rng: random.Random, kind: str, trade: str) -> str:
    return rng.choice(QUESTIONS[kind]).format(trade=trade)


def record(story: Story) -> QuestionRecord:
    """A story as a question; `group` is its kind."""
    fields = {
        "reader_facts": story.reader_facts,
        "solver_facts": story.solver_facts,
        "all_facts": story.all_facts,
        "first_round": str(story.first_round),
    }
    return QuestionRecord(question=story.question, answer=story.answer, group=story.kind, fields=fields)


def questions(seed: int, count: int, held_out: bool = False) -> list[QuestionRecord]:
    """Questions of all kinds in turn; those of training come in groups about one story, whose facts are read once."""
    rng = random.Random(seed)
    if held_out:
        return [record(draw(rng, ORDER[index % len(ORDER)], held_out)) for index in range(count)]
    stories = itertools.islice(_training_stories(rng), count)
    return [record(story) for story in stories]


def _training_stories(rng: random.Random) -> Iterator[Story]:
    """Training questions without end: as many as `ORDER` has about the same story, then about the next."""
    while True:
        first, *others = ORDER
        story = draw(rng, first, held_out=False)
        yield story
        for kind in others:
            yield ask_again(rng, story, kind)


@dataclass(frozen=True)
class Exchange:
    """What the agents ideally say in a round.

    Attributes:
        request: What the reader was asked at the end of the round before; None in round 1.
        notes: What the reader says.
        river: What the guide says.
    """

    request: str | None
    notes: str
    river: str


def exchanges(story: Story, rounds: int = 4) -> list[Exchange]:
    """The ideal conversation in text; a town that is known is passed on from then on."""
    said = [Exchange(None, NOTHING, NO_TOWN)]
    person = story.people[story.asked]
    if story.about_manager:
        said.append(Exchange(f"{person} {MANAGER}", story.person, NO_TOWN))
        person = story.person
    said.append(Exchange(person, story.town, RIVER_OF[story.town]))
    while len(said) < rounds:
        said.append(Exchange(story.town, story.town, RIVER_OF[story.town]))
    return said[:rounds]


def role_texts(seed: int, count: int, end: str) -> Iterator[dict[str, Any]]:
    """Role texts of all agents and of the solver with all facts.

    The solver is asked about people whom training questions ask about, the reader about any of the four.

    Args:
        seed: Of everything random.
        count: How many.
        end: What ends a hand-off of reader or solver in text, such as the end-of-turn token.
    """
    rng = random.Random(seed)
    for index in range(count):
        story = draw(rng, rng.choice(ORDER), held_out=False)
        kind = ("reader", "request", "reader", "answer", "alone")[index % 5]
        yield {"reader": _reader, "request": _request, "answer": _answer, "alone": _alone}[kind](story, rng, end)


def thought_texts(seed: int, stories: int) -> Iterator[dict[str, Any]]:
    """Role texts that inner links learn from: many hand-offs of reader and solver about each story, with no end.

    Hand-offs have a fixed length in latent mode; they are padded with line breaks, which the agents read as nothing.

    Args:
        seed: Of everything random.
        stories: How many stories; each gives eighteen texts.
    """
    rng = random.Random(seed)
    for _ in range(stories):
        story = draw(rng, rng.choice(ORDER), held_out=False)
        yield _row(story, "reader", 1, {}, NOTHING)
        for person, town, at in zip(story.people, story.towns, story.managers, strict=True):
            for request, notes in ((person, town), (f"{person} {MANAGER}", story.people[at])):
                yield _row(story, "reader", 2, {"solver->reader": request}, notes)
        yield _row(story, "reader", 3, {"solver->reader": story.town}, story.town)
        for kind in (*ORDER, *ORDER[:2]):
            yield _request(ask_again(rng, story, kind), rng, "")


def guide_texts(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Role texts of the guide."""
    rng = random.Random(seed)
    for _ in range(count):
        town = rng.choice(TOWNS)
        yield _row(draw(rng, "home", False), "guide", 2, {"reader->guide": town}, RIVER_OF[town])


def _row(story: Story, agent: str, round_number: int, hand_offs: dict[str, str], completion: str) -> dict[str, Any]:
    facts = {"reader_facts": story.reader_facts, "solver_facts": story.solver_facts}
    return {
        "agent": agent,
        "round": round_number,
        "question": story.question,
        **({f"{agent}_facts": facts[f"{agent}_facts"]} if f"{agent}_facts" in facts else {}),
        "hand_offs": hand_offs,
        "completion": completion,
        "kind": "hand_off",
    }


def _reader(story: Story, rng: random.Random, end: str) -> dict[str, Any]:
    if rng.random() < 0.1:
        return _row(story, "reader", 1, {}, NOTHING + end)
    at = rng.randrange(len(story.people))
    person, town, manager = story.people[at], story.towns[at], story.people[story.managers[at]]
    # The reader understands both orders, so that it does not matter where a thought holds the word.
    request, notes = rng.choice(
        (
            *((person, town), (person, town), (town, town)),
            *((f"{person} {MANAGER}", manager), (f"{MANAGER} {person}", manager)),
        )
    )
    return _row(story, "reader", 2, {"solver->reader": request}, notes + end)


def _request(story: Story, rng: random.Random, end: str) -> dict[str, Any]:
    said = exchanges(story)
    at = rng.randrange(story.first_round)
    heard = {"reader->solver": said[at].notes, "guide->solver": said[at].river}
    request = said[at + 1].request
    assert request is not None, "only the first round has no request"
    return _row(story, "solver", at + 1, heard, request + end)


def _answer(story: Story, rng: random.Random, _end: str) -> dict[str, Any]:
    said = exchanges(story)
    at = rng.choice((*range(story.first_round), story.first_round - 1))
    heard = {"reader->solver": said[at].notes, "guide->solver": said[at].river}
    answer = story.answer if said[at].notes == story.town else UNKNOWN
    return {**_row(story, "solver", at + 1, heard, answer), "kind": "answer"}


def _alone(story: Story, _rng: random.Random, _end: str) -> dict[str, Any]:
    prompt = f"Facts: {story.all_facts}\nQuestion: {story.question}\nNext:\n"
    return {"agent": "solver", "prompt": [prompt], "completion": story.answer, "kind": "answer"}


def words() -> list[str]:
    """Every word and piece of a word that the guide knows besides the special tokens."""
    begins = sorted({*TOWN_BEGINNINGS, *RIVER_BEGINNINGS})
    ends = sorted({*TOWN_ENDINGS, *RIVER_ENDINGS})
    return [*GUIDE_WORDS, *NO_TOWN.split(), *begins, *(PIECE + end for end in ends)]


def pretraining_batch(rng: np.random.Generator, vocabulary: Mapping[str, int], batch: int) -> Batch:
    """`<bos> place [slot] river answer <eos>`, where the slot holds a town's two pieces and the answer its river's.

    In 30% of the sequences, the slot is empty or holds unknown words or any two pieces; the answer is then `no town`,
    unless the pieces happen to make a town.
    """

    def pieces(name: str, begins: tuple[str, ...]) -> list[int]:
        begin = next(each for each in begins if name.startswith(each) and PIECE + name[len(each) :] in vocabulary)
        return [vocabulary[begin], vocabulary[PIECE + name[len(begin) :]]]

    rivers = {tuple(pieces(town, TOWN_BEGINNINGS)): pieces(river, RIVER_BEGINNINGS) for town, river in RIVER_OF.items()}
    towns = np.array(list(rivers))  # (336, 2)
    nowhere = [vocabulary[word] for word in NO_TOWN.split()]
    kind = rng.random(batch)
    slot = towns[rng.integers(0, len(towns), batch)]  # (B, 2)
    slot[kind < 0.1] = vocabulary["<unk>"]
    anything = (kind >= 0.2) & (kind < 0.3)
    slot[anything] = rng.integers(0, len(vocabulary), (int(anything.sum()), 2))
    filled = (kind < 0.1) | (kind >= 0.2)
    answers = [rivers.get(tuple(row), nowhere) if full else nowhere for row, full in zip(slot, filled, strict=True)]

    def word(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.full((batch, 1), vocabulary[name])

    parts = [
        *(Part(word("<bos>")), Part(word(GUIDE_WORDS[0]))),
        Part(slot, filled[:, None].repeat(2, 1), state=True),
        Part(word(GUIDE_WORDS[1])),
        Part(np.array(answers), scored=True, state=True),
        Part(word("<eos>"), scored=True),
    ]
    return join_parts(parts, vocabulary["<eos>"])
