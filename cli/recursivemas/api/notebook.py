"""Pictures of a run for notebooks: HTML and SVG without scripts, with every text escaped.

Colours are those of the text around it, and a hue for each agent, so that pictures suit light and dark notebooks.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

if TYPE_CHECKING:
    from recursivemas.api.answer import Answer, Array, Trace
    from recursivemas.api.evaluation import Evaluation
    from recursivemas.system.graph import Edge

MOST_WORDS = 64
"""Words of a turn that are shown; the others are counted."""
MOST_THOUGHTS = 40
"""Thoughts of an agent in a heatmap; of more, so many at even distances."""
HUES = ("#4269d0", "#c98500", "#d0413c", "#3c9f8c", "#8a5fc0", "#7a6a53", "#c2559d", "#5b8a2f")

_STEP, _BOX_WIDTH, _BOX_HEIGHT = 150, 108, 34  # px, of the graph
_CELL = 9  # px, of a heatmap


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("recursivemas.api", "")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def trace_html(trace: "Trace") -> str:
    """The graph, a row for each turn, and how alike each agent's thoughts are."""
    return _environment().get_template("trace.html.jinja").render(_shown(trace))


def answer_html(answer: "Answer") -> str:
    """The question, the answer and what it took, above the trace."""
    return _environment().get_template("trace.html.jinja").render(_shown(answer.trace), answer=answer)


def evaluation_html(evaluation: "Evaluation") -> str:
    """A table of the cells."""
    return _environment().get_template("evaluation.html.jinja").render(evaluation=evaluation)


@dataclass(frozen=True)
class _Arrow:
    """An edge as a curve and the triangle at its end."""

    edge: "Edge"
    path: str
    head: str


@dataclass(frozen=True)
class _Box:
    """An agent in the graph."""

    agent: str
    role: str
    colour: str
    x: int
    y: int


def _shown(trace: "Trace") -> dict[str, Any]:
    """What the template draws."""
    colours = {agent: HUES[index % len(HUES)] for index, agent in enumerate(trace.agents)}
    places = {agent: index for index, agent in enumerate(trace.agents)}
    reach = max((_reach(places, edge) for edge in trace.edges), default=0)
    middle = 24 + 16 * reach + _BOX_HEIGHT // 2
    boxes = [
        _Box(agent, role, colours[agent], _STEP // 2 + _STEP * places[agent], middle)
        for agent, role in trace.agents.items()
    ]
    return {
        "trace": trace,
        "colours": colours,
        "most_words": MOST_WORDS,
        "boxes": boxes,
        "arrows": [_arrow(edge, places, middle) for edge in trace.edges],
        "box_width": _BOX_WIDTH,
        "box_height": _BOX_HEIGHT,
        "width": _STEP * len(trace.agents),
        "height": 2 * middle,
        "heatmaps": _heatmaps(trace),
        "cell": _CELL,
    }


def _reach(places: Mapping[str, int], edge: "Edge") -> int:
    return abs(places[edge.target] - places[edge.source])


def _arrow(edge: "Edge", places: Mapping[str, int], middle: int) -> _Arrow:
    """A hand-off: along the order above the boxes, back to the next round below them."""
    side = 1 if edge.feedback else -1
    begin, end = (_STEP // 2 + _STEP * places[each] for each in (edge.source, edge.target))
    shift = 18 if begin <= end else -18
    x1, x2 = begin + shift, end - shift
    if begin == end:
        x1, x2 = begin - 18, end + 18
    y = middle + side * _BOX_HEIGHT // 2
    bend = y + side * (24 + 28 * max(1, _reach(places, edge)) - 20)
    control = (x1 + x2) / 2
    angle = math.atan2(y - bend, x2 - control)
    points = [(x2, y)] + [
        (x2 - 8 * math.cos(angle + turn), y - 8 * math.sin(angle + turn)) for turn in (-math.pi / 7, math.pi / 7)
    ]
    head = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return _Arrow(edge, f"M{x1},{y} Q{control:.1f},{bend} {x2},{y}", head)


def _heatmaps(trace: "Trace") -> list[dict[str, Any]]:
    """Of each agent with two thoughts or more: cosines between its thoughts, K times K."""
    found = []
    for agent in trace.agents:
        thoughts = [turn.thoughts for turn in trace.turns if turn.agent == agent and turn.thoughts is not None]
        rows = np.concatenate(thoughts) if thoughts else np.zeros((0, 1), np.float32)
        if len(rows) > 1:
            labels = [
                f"round {turn.round}, thought {step + 1}"
                for turn in trace.turns
                if turn.agent == agent and turn.thoughts is not None
                for step in range(len(turn.thoughts))
            ]
            found.append({"agent": agent, "all": len(rows), "squares": _squares(rows, labels), **_size(rows)})
    return found


def _size(rows: "Array") -> dict[str, int]:
    shown = min(len(rows), MOST_THOUGHTS)
    return {"shown": shown, "side": shown * _CELL}


def _squares(rows: "Array", labels: Sequence[str]) -> list[dict[str, Any]]:
    """One square for each pair of thoughts: where it is, its cosine, its colour and its opacity."""
    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_THOUGHTS)).round().astype(int))
    chosen = rows[picked]
    norms = np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)
    cosines = (chosen / norms) @ (chosen / norms).T
    return [
        {
            "x": j * _CELL,
            "y": i * _CELL,
            "colour": "#d0413c" if cosines[i, j] < 0 else "#4269d0",
            "opacity": f"{min(1.0, abs(float(cosines[i, j]))):.2f}",
            "title": f"{labels[picked[i]]} · {labels[picked[j]]}: {float(cosines[i, j]):.3f}",
        }
        for i in range(len(chosen))
        for j in range(len(chosen))
    ]
