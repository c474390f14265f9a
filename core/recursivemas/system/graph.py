"""Graphs of agents: edges, the order of a round, and the four patterns written as graphs.

Source: arXiv 2604.25917 (the four collaboration patterns); docs/recursion.md, rule 1.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError

_PROPERTIES = (
    "__proto__", "constructor", "prototype", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable",
    "toLocaleString", "toString", "valueOf", "__defineGetter__", "__defineSetter__", "__lookupGetter__",
    "__lookupSetter__",
)  # fmt: skip
"""What every object of JavaScript has; the page could take such a name for one of them."""


def _no_property(name: str) -> str:
    if name in _PROPERTIES:
        raise InputError(f"{name!r} has a meaning in JavaScript, where pages run; choose another name")
    return name


NO_PROPERTY = AfterValidator(_no_property)
"""For `Annotated`: the text can be the name of a property in JavaScript."""


LOST_KEYS = ("__proto__", "prototype", "constructor")
"""Keys that the page's reader would leave out of an object without a word, so that it refuses them."""


def _no_lost_key(name: str) -> str:
    if name in LOST_KEYS:
        raise InputError(f"a column is called {name!r}, which has a meaning in JavaScript, where pages run; rename it")
    return name


ColumnName = Annotated[str, AfterValidator(_no_lost_key)]
"""The name of a column of a question."""


class Edge(Closed):
    """A hand-off, with an outer link of its own."""

    id: Annotated[str, Field(pattern=r"^[^{}\s:]+$", max_length=160), NO_PROPERTY]
    """Names the slot `{latent:<id>}`; `<from>-><to>` by default."""
    source: str = Field(alias="from")
    """Agent whose latent thoughts are handed over."""
    target: str = Field(alias="to")
    """Agent whose prompt has the slot."""
    feedback: bool = False
    """Whether the hand-off is read in the next round, because the target has already run in this one."""

    @model_validator(mode="before")
    @classmethod
    def _default_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and "id" not in data and "from" in data and "to" in data:
            return {**data, "id": f"{data['from']}->{data['to']}"}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == self.target and not self.feedback:
            raise InputError(f"edge {self.id!r} leads back to its own agent; it needs 'feedback: true'")
        return self


def pattern_edges(pattern: str, agents: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the edges of a pattern.

    Args:
        pattern: The name of the pattern.
        agents: Ids of the agents in the order in which they run.

    Raises:
        InputError: The pattern needs another number of agents.
    """
    *others, last = agents or [""]

    def forward(source: str, target: str) -> dict[str, Any]:
        return {"id": f"{source}->{target}", "from": source, "to": target, "feedback": False}

    def back(source: str, target: str) -> dict[str, Any]:
        return {"id": f"{source}->{target}", "from": source, "to": target, "feedback": True}

    if pattern == "sequential":
        chain = [forward(a, b) for a, b in itertools.pairwise(agents)]
        return [*chain, back(last, agents[0])] if agents else []
    if pattern == "mixture":
        if len(agents) < 3:
            raise InputError(f"pattern mixture needs two or more experts and a summarizer, got {len(agents)} agents")
        return [*(forward(expert, last) for expert in others), *(back(last, expert) for expert in others)]
    if pattern in ("distillation", "deliberation"):
        if len(agents) != 2:
            raise InputError(f"pattern {pattern} needs exactly two agents, got {len(agents)}")
        return [forward(agents[0], last), back(last, agents[0])]
    return []


def resolve_edges(agents: Sequence[str], edges: Sequence[Edge]) -> None:
    """Checks that edges fit the order in which agents run.

    Raises:
        InputError: An edge names an unknown agent, an id is repeated, an edge runs against the order without being
            marked as feedback (a cycle without an order), or an edge along the order is marked as feedback.
    """
    position = {agent: index for index, agent in enumerate(agents)}
    order = ", ".join(agents)
    seen: set[str] = set()
    for edge in edges:
        if edge.id in seen:
            raise InputError(f"edge id {edge.id!r} appears twice; give one of them another 'id'")
        seen.add(edge.id)
        for end in (edge.source, edge.target):
            if end not in position:
                raise InputError(f"edge {edge.id!r} names an unknown agent {end!r}; agents are {order}")
        backward = position[edge.target] <= position[edge.source]
        if backward and not edge.feedback:
            raise InputError(
                f"edge {edge.id!r} closes a cycle without an order: {edge.target!r} already ran before {edge.source!r} "
                f"(order: {order}); mark the edge 'feedback: true' or reorder the agents"
            )
        if edge.feedback and not backward:
            raise InputError(
                f"edge {edge.id!r} is marked as feedback but {edge.target!r} runs after {edge.source!r} "
                f"(order: {order}); remove 'feedback: true' or reorder the agents"
            )
