"""`rmas eval --profile released`: one of the paper's data sets, asked and judged as the authors' runner does.

Every answer has two verdicts: the authors' and ours. Batches are fixed by the order of the questions, and each draws
from a generator of its own. So the results depend neither on how many processes share the work nor on interruptions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recursivemas.system.names import Mode
from recursivemas.system.progress import Progress, Say, silent, unseen
from recursivemas.system.questions import check_fields
from recursivemas.system.released_settings import ReleasedSettings, SetName
from recursivemas.system.settings import AnswerRetry
from recursivemas.system.system import System
from recursivemas.training.evaluation.code_process import require_limits
from recursivemas.training.evaluation.code_tests import passes, program_in
from recursivemas.training.evaluation.evaluate import asked_of
from recursivemas.training.evaluation.released_scoring import (
    released_choice_is_right,
    released_mathematics_is_right,
)
from recursivemas.training.evaluation.released_sets import SetQuestion
from recursivemas.training.evaluation.results import Line, Results, digest
from recursivemas.training.evaluation.statistics import wilson
from recursivemas.training.processes import processes
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks.scoring import is_right
from recursivemas.training.window import check_window

# What follows an answer that lacks what it needs, unless the system says it itself.
_RETRIES = {
    "box": "\nFinal Answer: \\boxed{",
    "choice": "\nFinal Choice: \\boxed{",
    "code": "\nThe program:\n```python\n",
}


@dataclass(frozen=True)
class Score:
    """Accuracy by one set of rules.

    Attributes:
        rules: `released`: the authors'; `ours`: correct ones.
        accuracy: Share of all answers that are right: pass@1.
        low: Lower end of its 95% Wilson interval.
        high: Upper end.
        pass_at_k: Share of questions of which at least one of k answers is right.
    """

    rules: str
    accuracy: float
    low: float
    high: float
    pass_at_k: float


def released_system(system: System, settings: ReleasedSettings) -> System:
    """The system with the decoding settings of a data set; its own answer retry stays if it asks for the same."""
    own = system.decoding.answer_retry
    needs, tokens = settings.needs, settings.retry_tokens
    append = own.append if own is not None and own.needs == needs else _RETRIES[needs]
    decoding = system.decoding.model_copy(
        update={
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": None,
            "repetition_penalty": settings.repetition_penalty,
            "answer_retry": AnswerRetry(needs=needs, append=append, max_new_tokens=tokens),
        }
    )
    return system.model_copy(update={"decoding": decoding})


def ask_set(
    recursion: Recursion,
    name: SetName,
    questions: Sequence[SetQuestion],
    settings: ReleasedSettings,
    mode: Mode,
    out: Path,
    depends_on: Mapping[str, Any],
    progress: Progress = unseen,
    say: Say = silent,
) -> list[Line]:
    """Asks every question that `out` has no result of, and returns all results.

    Args:
        recursion: The system, as `released_system` gives it.
        name: Of the data set.
        questions: Of the data set.
        settings: Of the data set.
        mode: How the agents work together, or a baseline.
        out: Folder of the results.
        depends_on: What else the results depend on, such as links and data; JSON values.
        progress: Called with answers done and answers in all, of this process.
        say: Called if results in `out` are damaged.

    Raises:
        InputError: `out` holds results of another run, a question lacks a column that a prompt shows, or answers are
            programs and their process cannot be limited.
    """
    if any(question.tests is not None for question in questions):
        require_limits(f"running the programs of {name}")
    records = [question.record for question in questions]
    check_fields(recursion.system, records)
    state = processes(recursion.deciding.device)
    identity = {
        "system": recursion.system.name,
        "set": name,
        "mode": mode,
        "settings": asdict(settings),
        **depends_on,
        "system_sha256": digest(recursion.system.model_dump(mode="json")),
    }
    texts = asked_of(recursion.system, records)
    check_window(recursion.system, recursion.agents, texts, settings.rounds, settings.latent_steps, mode)
    results = Results(out, identity, state.process_index, say)
    state.wait_for_everyone()
    if state.is_main_process:
        results.gather()
    state.wait_for_everyone()
    done = {line["index"] for line in results.lines()}
    size = settings.batch_size
    batches = [range(begin, min(begin + size, len(questions))) for begin in range(0, len(questions), size)]
    pending = [batch for batch in batches if not done.issuperset(batch)]
    state.wait_for_everyone()  # nobody writes before everybody has read
    mine = pending[state.process_index :: state.num_processes]
    total, asked = sum(map(len, mine)) * settings.rollouts, 0
    for batch in mine:
        rollouts = []
        for rollout in range(settings.rollouts):
            rollouts.append(_ask(recursion, questions, batch, settings, mode, rollout))
            asked += len(batch)
            progress(asked, total)
        lines = [
            _line(name, index, questions[index], [each[at] for each in rollouts], settings)
            for at, index in enumerate(batch)
        ]
        results.append(line for line in lines if line["index"] not in done)
    state.wait_for_everyone()
    if state.is_main_process:
        results.gather()
    state.wait_for_everyone()
    return results.lines()[: len(questions)]


@dataclass(frozen=True)
class _Answer:
    text: str
    decoded_tokens: int
    forward_positions: int


def _ask(
    recursion: Recursion,
    questions: Sequence[SetQuestion],
    batch: range,
    settings: ReleasedSettings,
    mode: Mode,
    rollout: int,
) -> list[_Answer]:
    """One answer to each question of a batch, which depends on seed, rollout and batch alone."""
    key = np.random.SeedSequence([settings.seed, rollout, batch.start])
    sampler = recursion.sampler(int(key.generate_state(1)[0]))
    records = [questions[index].record for index in batch]
    answers = recursion.run(asked_of(recursion.system, records), settings.rounds, settings.latent_steps, mode, sampler)
    return [
        _Answer(*each) for each in zip(answers.texts, answers.decoded_tokens, answers.forward_positions, strict=True)
    ]


def _line(
    name: SetName, index: int, question: SetQuestion, answers: Sequence[_Answer], settings: ReleasedSettings
) -> dict[str, Any]:
    verdicts = [judge(each.text, question, settings) for each in answers]
    record = question.record
    return {
        "index": index,
        "question": record.question,
        **({"group": record.group} if record.group is not None else {}),
        "right_answer": record.answer,
        "answers": [each.text for each in answers],
        "released": [released for released, _ in verdicts],
        "ours": [ours for _, ours in verdicts],
        "decoded_tokens": [each.decoded_tokens for each in answers],
        "forward_positions": [each.forward_positions for each in answers],
    }


def judge(answer: str, question: SetQuestion, settings: ReleasedSettings) -> tuple[bool, bool]:
    """Whether an answer is right by the authors' rules, and by ours."""
    record = question.record
    if question.tests is not None:
        released = passes(answer, question.tests, "released", settings.code_wall_s)
        # Programs that read streams run as they are by both rules.
        same = question.tests.kind == "streams" and program_in(answer, "released") == program_in(answer, "ours")
        return released, released if same else passes(answer, question.tests, "ours", settings.code_wall_s)
    if record.choices is not None:
        return released_choice_is_right(answer, question.released_answer), is_right(answer, record, "choice")
    return released_mathematics_is_right(answer, question.released_answer), is_right(answer, record, "math")


def scores(lines: Sequence[Line]) -> list[Score]:
    """Accuracies by both sets of rules."""
    found = []
    for rules in ("released", "ours"):
        verdicts = [line[rules] for line in lines]
        accuracy = sum(sum(each) / len(each) for each in verdicts) / len(verdicts)
        low, high = wilson(accuracy * len(verdicts), len(verdicts))
        found.append(Score(rules, accuracy, low, high, sum(map(any, verdicts)) / len(verdicts)))
    return found


def mean(lines: Sequence[Line], key: str) -> float:
    """The mean of a count over all answers."""
    every: list[int] = [value for line in lines for value in line[key]]
    return sum(every) / len(every)


def changed(settings: ReleasedSettings, **given: Any) -> ReleasedSettings:
    """The settings with those that are given, that is, not None."""
    return replace(settings, **{key: value for key, value in given.items() if value is not None})
