"""Pairs (h_t, y_{t+1}) of role texts: inner links learn to continue as the roles write.

Source: arXiv 2604.25917, inner loop, whose texts are those of a data set, too. The texts are read in the contexts in
which an agent will think, or the agents finish them themselves. Shape letters: B batch, T positions, D hidden size.
"""

from collections.abc import Mapping, Sequence

import torch
import transformers

from recursivemas.system.progress import Progress, unseen
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.processes import share
from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import Context, Sampler, Written, begin, extend, left_pad, write
from recursivemas.training.train.pairs import Collector, Pairs, Variety, WrittenTurn
from recursivemas.training.train.prefix import read_once, shared_beginnings
from recursivemas.training.train.role_texts import Lesson

BATCH = 32


@torch.no_grad()
def collect_text_pairs(
    recursion: Recursion,
    lessons: Mapping[str, Sequence[Lesson]],
    seed: int,
    finish: bool = False,
    varieties: dict[str, Variety] | None = None,
    progress: Progress = unseen,
) -> dict[str, Pairs]:
    """Every agent's pairs at the completions of its role texts; several processes share the reading.

    Args:
        recursion: The system; links are not used.
        lessons: By agent id.
        seed: Of the thinning of tokens that repeat the token before.
        finish: Whether the agents write completions themselves, greedily and as long as the given ones.
        varieties: Gets how much each agent's texts differ.
        progress: Called with the batches of texts that have been read, and all of them.
    """
    batches: list[tuple[str, list[Lesson]]] = []
    for key, own in lessons.items():
        # Texts that begin alike are read together; what is collected does not depend on it.
        ordered = sorted(own, key=lambda each: each.prompt)
        batches += [(key, ordered[start : start + BATCH]) for start in range(0, len(ordered), BATCH)]

    def turn(index: int) -> WrittenTurn:
        key, texts = batches[index]
        agent = recursion.agents[key]
        written = WrittenTurn.of(agent, _finished(agent, texts) if finish else _read(agent, texts))
        progress(index + 1, len(batches))
        return written

    collector = Collector(recursion, seed)
    for each in share(range(len(batches)), turn):
        collector(each)
    if varieties is not None:
        varieties |= {key: collector.variety(key) for key in recursion.agents}
    return {key: collector.pairs(key) for key in recursion.agents}


def _read(agent: LoadedAgent, lessons: Sequence[Lesson]) -> Written:
    """The given completions, with the states from which they would be written."""
    beginnings = shared_beginnings([each.prompt for each in lessons])
    context = read_once(agent, beginnings) if any(beginnings) else Context(transformers.DynamicCache())
    # The last token of a completion is predicted and never read.
    rest = [each.ids[len(common) : -1] for each, common in zip(lessons, beginnings, strict=True)]
    embeds, valid = left_pad([agent.embed(ids) for ids in rest])  # (B, T, D)
    states = extend(agent, context, embeds, valid)
    ids = [each.completion for each in lessons]
    return Written(ids, states[:, -1], [], [], [row[-len(own) :] for row, own in zip(states, ids, strict=True)])


def _finished(agent: LoadedAgent, lessons: Sequence[Lesson]) -> Written:
    """What the agent writes itself."""
    hidden, context = begin(agent, [agent.embed(each.prompt) for each in lessons])
    longest = max(len(each.completion) for each in lessons)
    written = write(agent, hidden, context, longest, Sampler(), keep_states=True)
    kept = [min(len(ids), len(each.completion)) for ids, each in zip(written.ids, lessons, strict=True)]
    return Written(
        [ids[:count] for ids, count in zip(written.ids, kept, strict=True)],
        written.hidden,
        [],
        [],
        [states[:count] for states, count in zip(written.states, kept, strict=True)],
    )
