"""A recursivemas system as a node of a LangGraph."""

from collections.abc import Callable, Mapping
from typing import Any

from langgraph.config import get_stream_writer

import recursivemas as rm


def system_node(
    system: rm.LoadedSystem, question: str = "question", answer: str = "answer", **options: Any
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A node that asks a system.

    Args:
        system: Loaded with `rm.load`.
        question: The key of the state that has the question.
        answer: The key that gets the answer's text.
        options: Arguments of `LoadedSystem.ask`, such as `mode`. A key `rounds` of the state goes before them.

    Returns:
        A function of the state for `StateGraph.add_node`. To `stream_mode="custom"` it writes
        `{"agent": …, "round": …}` after each turn and `{"text": …}` for each piece of the answer.
    """

    def node(state: Mapping[str, Any]) -> dict[str, Any]:
        write = get_stream_writer()
        given = {**options, **({"rounds": state["rounds"]} if "rounds" in state else {})}
        for event in system.stream(state[question], **given):
            if isinstance(event, rm.Turn):
                write({"agent": event.agent, "round": event.round})
            elif isinstance(event, str):
                write({"text": event})
            else:
                return {answer: event.answer}
        raise AssertionError("a stream ends with its answer")

    return node
