"""A LangGraph whose middle node is a system of three agents."""

import itertools
import math
import re
from pathlib import Path
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from node import system_node

import recursivemas as rm

SYSTEMS = Path(__file__).parents[2] / "systems"
WAYS = "a>b b~c c-d d>e e~f f-g g>h h~i i-j j>k k~l l-a"


class State(TypedDict, total=False):
    """What the nodes read and write."""

    request: str
    question: str
    rounds: int
    answer: str
    report: str


def read(state: State) -> State:
    """Turns "from a, 5 hops" into the question of the task, and says how many rounds that needs: three hops each."""
    found = re.search(r"from (\w).*?(\d+) hop", state["request"])
    if found is None:
        raise ValueError(f"{state['request']!r}: expected a request such as 'from a, 5 hops'")
    return {"question": f"{WAYS} ? {found[1]}@{found[2]}", "rounds": math.ceil(int(found[2]) / 3)}


def tell(state: State) -> State:
    """A sentence about the answer."""
    return {"report": f"After {state['rounds']} rounds: town {state['answer']}."}


def graph(system: rm.LoadedSystem) -> Any:
    """The compiled graph."""
    nodes = StateGraph(State)
    nodes.add_node("read", read)
    nodes.add_node("travel", system_node(system))
    nodes.add_node("tell", tell)
    for source, target in itertools.pairwise((START, "read", "travel", "tell", END)):
        nodes.add_edge(source, target)
    return nodes.compile()


if __name__ == "__main__":
    travellers = rm.load(SYSTEMS / "hop-sequential.yaml", SYSTEMS / "links/hop-sequential.recursivelink.json")
    for kind, event in graph(travellers).stream({"request": "from a, 9 hops"}, stream_mode=["custom", "values"]):
        print(kind, event)
