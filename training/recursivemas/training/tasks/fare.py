"""The fare task: travel as in the journey task, then work out the fare with a calculator.

Towns a to l are numbered 1 to 12; the fare is the number of the first town times the number of the last. The agent that
answers has never been taught to multiply: it writes `<calculator> 6 * 5 </calculator>`, reads `<result> 30 </result>`,
and is done.
"""

from collections.abc import Mapping

import numpy as np

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.tasks import hop
from recursivemas.training.tasks.hop import Walks
from recursivemas.training.tasks.sequences import Batch, Ints, Part

TAGS = ("<calculator>", "*", "</calculator>", "<result>", "</result>")
LARGEST = len(hop.SYMBOLS) ** 2


def words() -> list[str]:
    """Every word of the task besides the special tokens, in reading order."""
    return [*hop.words(), *TAGS, *(str(number) for number in range(1, LARGEST + 1))]


def questions(seed: int, count: int) -> list[QuestionRecord]:
    """Questions for a reflector who knows roads and a tool caller who knows rails; `group` is k."""
    records = []
    for record in hop.questions(seed, count, kinds=(0, 2)):
        first = record.question.split(" ? ")[1].partition("@")[0]
        fare = (hop.SYMBOLS.index(first) + 1) * (hop.SYMBOLS.index(record.answer) + 1)
        records.append(record.model_copy(update={"answer": str(fare)}))
    return records


def pretraining_batch(
    rng: np.random.Generator, vocabulary: Mapping[str, int], batch: int, length: int, kind: int
) -> Batch:
    """As `hop.pretraining_batch`, with a call and its result in place of the answer; the result is not scored."""
    numbers = np.array([vocabulary[str(number)] for number in range(1, LARGEST + 1)])

    def word(name: str) -> Ints:
        return np.full((batch, 1), vocabulary[name])

    def ending(walks: Walks) -> list[Part]:
        first, last = walks.ring[:, :1], walks.town(walks.hops[:, None])  # (B, 1) town indices
        call = [word("<calculator>"), numbers[first], word("*"), numbers[last], word("</calculator>")]
        result = [word("<result>"), numbers[(first + 1) * (last + 1) - 1], word("</result>")]
        return [Part(np.concatenate(call, 1), scored=True), Part(np.concatenate(result, 1))]

    return hop.pretraining_batch(rng, vocabulary, batch, length, kind, ending)
