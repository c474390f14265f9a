"""Renders a chat template with transformers' own code: `python -m recursivemas.system.chat_worker`.

A template is a program that somebody else wrote, so it runs in a process of its own. This process limits its memory;
its parent (`chat_template.py`) limits the time. It reads one request from standard input, writes one reply to standard
output, both JSON, and ends.

To find out whether a template treats all messages alike, it is also rendered for a `_Content`, a message that is not
known yet. The template may write it and strip its ends. If the template asks something about it, such as whether it
starts with `<tool_response>`, the prompt's own text answers; if that cannot, the template is rendered for both answers.
"""

import datetime
import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from transformers.utils import chat_template_utils

MARK, SLOT, _SPACE = "\ue000", "\ue001", "\N{EM SPACE}"
"""The message, a slot of its text, and the white space at its ends."""

_MEMORY_BYTES = 2 << 30
_MOST_RUNS = 64
_STAND_INS = (
    "x",
    " \n two words\t ",
    "{\"a\": 'b'} <c> & {{d}} {% e %} \\n \u00e9\u0301\U0001f600",
    "41\n\n\n42",
    "/no_think <tool_response>1</tool_response> </think>",
    "long " * 2000,
)
# Filters that leave a text as it is, but for its ends, and those that pick from a list without reading its texts.
_KEEPS = {"default", "d", "trim", "string"}
_STRUCTURAL = {"list", "first", "last", "length", "count", "reverse", "map", "items"}
_STRUCTURAL |= {"select", "reject", "selectattr", "rejectattr"}


class _NoDateError(Exception):
    """The template asks for today's date, and there is none."""


class _Altered(BaseException):
    """The template does with the message what no rule covers. Templates' tests catch every `Exception`."""


class _Content(str):
    """A text that holds the message."""

    ask: Callable[[str, str, str], bool]
    """Answers (text, question, argument); the exploration sets it."""

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: str) -> str:
        return _tainted(str.__add__(self, other))

    def __radd__(self, other: str) -> str:
        return _tainted(str.__add__(other, self))

    def __contains__(self, text: object) -> bool:
        return _Content.ask(self, "contains", str(text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and (other is self or _Content.ask(self, "equals", str(other)))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        raise _Altered("looks the message up")

    def __iter__(self) -> Iterator[str]:
        raise _Altered("reads the message letter by letter")
        yield

    def startswith(self, start: Any, *between: Any) -> bool:
        return self._any("starts with", start, between)

    def endswith(self, end: Any, *between: Any) -> bool:
        return self._any("ends with", end, between)

    def _any(self, question: str, texts: Any, between: tuple[Any, ...]) -> bool:
        if between:
            raise _Altered("looks into the message")
        return any(_Content.ask(self, question, str(text)) for text in ([texts] if isinstance(texts, str) else texts))

    def strip(self, chars: Any = None) -> str:
        if chars is not None:
            raise _Altered(f"strips {chars!r} from the message")
        return _tainted(str.strip(self))


def _refuse(name: str) -> Callable[..., Any]:
    def method(self: _Content, *_: Any, **__: Any) -> Any:
        raise _Altered(f"uses {name} of the message")

    return method


for _name in dir(str):
    _operator = _name in ("__len__", "__getitem__", "__format__") or re.fullmatch("__([lg][te]|r?mod|r?mul)__", _name)
    if _name not in vars(_Content) and (_operator or not _name.startswith("_")):
        setattr(_Content, _name, _refuse(_name))


def _tainted(text: str) -> str:
    return _Content(text) if str.__contains__(text, MARK) else text


def _concat(parts: Iterable[Any]) -> str:
    return _tainted("".join(parts))


def _holds(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    return any(map(_holds, value)) if isinstance(value, list | tuple) else isinstance(value, _Content)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses the message unless it keeps it as it is."""

    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> Any:
        if name in _STRUCTURAL or name in _KEEPS:
            bad = any(isinstance(each, _Content) for each in args) if name in _STRUCTURAL else False
            bad = bad or (name == "string" and any(_holds(each) and not isinstance(each, str) for each in args))
        else:
            args = tuple(list(each) if hasattr(each, "__next__") else each for each in args)
            bad = _holds([*args, *options.values()])
        if bad:
            raise _Altered(f"uses the filter {name!r} on the message")
        return function(*args, **options)

    return guarded


class _InAsTest(jinja2.visitor.NodeTransformer):
    """`a in b` becomes the test `a is in(b)`, so that a message as `a` is seen."""

    def visit_Compare(self, node: jinja2.nodes.Compare) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if len(node.ops) != 1 or node.ops[0].op not in ("in", "notin"):
            return node
        test = jinja2.nodes.Test(node.expr, "in", [node.ops[0].expr], [], None, None, lineno=node.lineno)
        return test if node.ops[0].op == "in" else jinja2.nodes.Not(test, lineno=node.lineno)


def _is_in(value: Any, container: Any) -> bool:
    if isinstance(value, _Content) and isinstance(container, str):
        raise _Altered("looks for the message in another text")
    return value in container


def _binary(context: Any, operator: str, left: Any, right: Any) -> Any:
    if _holds([left, right]):
        raise _Altered(f"uses the operator {operator!r} on the message")
    return left % right


def _watched(template: str) -> jinja2.Template:
    """The template in transformers' environment, with everything that a message can pass through watched."""
    environment = chat_template_utils._cached_compile_jinja_template(template).environment
    for name in ("str_join", "markup_join"):
        setattr(jinja2.runtime, name, lambda parts: _concat(map(str, parts)))
    environment.concat = _concat
    environment.filters = {name: _guarded(name, each) for name, each in environment.filters.items()}
    is_sequence = environment.tests["sequence"]
    environment.tests |= {"in": _is_in, "sequence": lambda value: isinstance(value, _Content) or is_sequence(value)}
    environment.intercepted_binops = frozenset("%")
    environment.call_binop = _binary
    return jinja2.Template.from_code(
        environment,
        environment.compile(_InAsTest().visit(environment.parse(template))),
        environment.make_globals(None),
    )


def _answer(text: str, question: str, argument: str, prompt: str) -> bool | None:
    """What the prompt's own text says to a question; None if it depends on its slots."""
    text = text.replace(f"{_SPACE}{MARK}{_SPACE}", prompt).replace(MARK, prompt.strip())
    pieces = text.split(SLOT)
    if argument == "":
        return question != "equals"  # a message is never empty
    if question == "contains":
        return True if any(argument in piece for piece in pieces) else None if SLOT in text else False
    if question == "equals":
        slots = ".*".join(map(re.escape, pieces))
        return None if SLOT in text and re.fullmatch(slots, argument, re.DOTALL) else text == argument
    edge = pieces[0] if question == "starts with" else pieces[-1][::-1]
    wanted = argument if question == "starts with" else argument[::-1]
    if SLOT not in text or len(edge) >= len(wanted) or not wanted.startswith(edge):
        return edge.startswith(wanted)
    return None


def _explored(render: Callable[[], str], prompt: str) -> str:
    """What a template makes of a message, if it is the same for every message that fills the prompt.

    Raises:
        _Altered: It is not.
    """
    results: dict[str, dict[tuple[str, ...], bool]] = {}
    waiting: list[dict[tuple[str, ...], bool]] = [{}]
    while waiting:
        known = waiting.pop()
        _Content.ask = staticmethod(functools.partial(_ask, prompt, known, waiting))
        results.setdefault(render(), known)
        if len(results) > 1:
            first, other = results.values()
            _, question, argument = next(key for key in (*other, *first) if first.get(key) != other.get(key))
            raise _Altered(f"writes another text when the message {question} {argument!r}")
        if len(waiting) > _MOST_RUNS:
            raise _Altered("asks too much about the message")
    return next(iter(results))


def _ask(
    prompt: str,
    known: dict[tuple[str, ...], bool],
    waiting: list[dict[tuple[str, ...], bool]],
    text: str,
    question: str,
    argument: str,
) -> bool:
    """The prompt's answer; else no, and the run with yes waits."""
    key = (str.__str__(text), question, argument)
    answer = _answer(*key, prompt)
    if answer is not None:
        return answer
    if key not in known:
        waiting.append({**known, key: True})
        known[key] = False
    return known[key]


class Renderer:
    """One request's template and what it may read."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.template: str = request["template"]
        self.variables: dict[str, Any] = request["variables"]
        self.read = chat_template_utils._get_template_variables(self.template)
        self.day: str | None = request["date"]
        self.asks_date = False
        chat_template_utils.datetime = self

    def now(self) -> datetime.datetime:
        """The day of the request, in place of today."""
        self.asks_date = True
        if self.day is None:
            raise _NoDateError
        return datetime.datetime.fromisoformat(self.day)

    def chat(self, messages: list[dict[str, str]], generation_prompt: bool) -> str:
        """A conversation, as `apply_chat_template` of transformers writes it."""
        options = {"add_generation_prompt": generation_prompt, "tools": None, "documents": None, **self.variables}
        rendered = chat_template_utils.render_jinja_template([messages], chat_template=self.template, **options)[0]
        return str(rendered[0])

    def wrapped(self, prompt: str, system: str | None) -> tuple[str, str, Any]:
        """Text before and after a prompt that is a user's message, and which ends of the message lose their space.

        A template that raises an error for a system message gets it as the beginning of the user's message.
        """
        if system is None:
            return self.around(prompt, [])
        message = _user(prompt.replace(SLOT, _STAND_INS[0]))
        try:
            told = self.chat([_system(system), message], True)
        except _NoDateError:
            raise
        except Exception:  # a template can raise anything
            prefix, suffix, trims = self.around(f"{system}\n\n{prompt}", [])
            return f"{prefix}{system.lstrip() if trims else system}\n\n", suffix, "end" if trims else False
        if told == self.chat([_system(f"{system} {_STAND_INS[0]}"), message], True):
            raise _Altered("leaves the system message out; write its text into the prompt")
        return self.around(prompt, [_system(system)])

    def around(self, prompt: str, before: list[dict[str, str]]) -> tuple[str, str, bool]:
        """Text before and after a prompt that is a user's message, and whether the message loses its ends' space.

        Args:
            prompt: With `SLOT` in place of its slots.
            before: The messages before the user's.
        """
        # Its error is plainer than the watched one's.
        self.chat([*before, _user(prompt.replace(SLOT, _STAND_INS[0]))], True)
        watched = _watched(self.template)
        message = [*before, _user(_Content(f"{_SPACE}{MARK}{_SPACE}"))]
        options = {"add_generation_prompt": True, "tools": None, "documents": None, **self.variables}
        text = _explored(lambda: str.__str__(watched.render(messages=message, **options)), prompt)
        if text.count(MARK) != 1:
            raise _Altered(f"shows the user message {text.count(MARK)} times, expected once")
        prefix, suffix = text.split(MARK)
        kept = (prefix.endswith(_SPACE), suffix.startswith(_SPACE))
        if kept[0] != kept[1]:
            raise _Altered("strips one end of the message; expected both or none")
        prefix, suffix = prefix.removesuffix(_SPACE), suffix.removeprefix(_SPACE)
        for stand_in in _STAND_INS:
            filled = prompt.replace(SLOT, stand_in)
            if self.chat([*before, _user(filled)], True) != prefix + (filled if kept[0] else filled.strip()) + suffix:
                raise _Altered(f"alters the user message, such as {stand_in[:40]!r}")
        return prefix, suffix, not kept[0]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def _tried(render: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": render()}
    except _NoDateError:
        return {"date": True}
    except _Altered as error:
        return {"error": f"the chat template {error}"}
    except Exception as error:  # a template can raise anything
        reason = "it needs too much memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        return {"error": f"the chat template cannot be rendered: {' '.join(reason.split())[:300]}"}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def main() -> None:
    """Answers the request on standard input."""
    request = json.load(sys.stdin.buffer)
    _limit_memory()
    made = _tried(lambda: Renderer(request))
    if "error" in made:
        reply = made
    else:
        renderer = made["value"]
        chats = [_tried(functools.partial(renderer.chat, *chat)) for chat in request["chats"]]
        prompts = [_tried(functools.partial(renderer.wrapped, *each)) for each in request["prompts"]]
        read = sorted(renderer.read)
        reply = {"chats": chats, "prompts": prompts, "read": read, "asks_date": renderer.asks_date}
    sys.stdout.buffer.write(json.dumps(reply).encode())


if __name__ == "__main__":
    main()
