"""Reads prompts and settings from a user's own copy of the paper's code.

`release_worker.py` calls the copy's functions in a process of its own, with marks in place of a question's columns;
here the marks become slots of our prompts. Source: docs/released-systems.md, which says what is read from which file.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recursivemas.system import release_worker
from recursivemas.system.errors import InputError

Kind: TypeAlias = Literal["math", "choice", "code"]

TASKS: Mapping[str, str] = {"math": "math500", "choice": "medqa", "code": "mbppplus"}
"""The data set whose settings a task takes."""
DATASETS: Mapping[str, Kind] = {
    "math500": "math",
    "aime25": "math",
    "aime26": "math",
    "medqa": "choice",
    "gpqa": "choice",
    "mbppplus": "code",
    "livecodebench": "code",
}
"""The kind of question of each data set."""
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "medqa": ("instructed",),
    "gpqa": ("instructed",),
    "mbppplus": ("assertions", "fn_name"),
    "livecodebench": ("starter_code", "task_type", "fn_name"),
}
"""Columns that change a prompt by being empty, or by another value than `function`; by data set."""
_MARKS = {name: f"⟦{name}⟧" for name in ("question", "statement", "assertions", "starter_code", "fn_name")}
_CHOICES = "\nA. ⟦a⟧\nB. ⟦b⟧\nC. ⟦c⟧\nD. ⟦d⟧"

_SECONDS = 60


@dataclass(frozen=True)
class ReleasedAgent:
    """An agent's prompts, with our slots.

    Attributes:
        id: Its role in the release.
        prompt: The template of later rounds, and of the first one unless it has its own.
        first_round_prompt: The template of the first round.
    """

    id: str
    prompt: str
    first_round_prompt: str | None


@dataclass(frozen=True)
class ReleasedSystem:
    """What a copy says about a style and a data set.

    Attributes:
        family: The pattern.
        repositories: Hub id by role, and that of the outer links as `outer`.
        task: Which links it takes, where a repository has several.
        flags: What its runner passes to the pattern's program, by name; a flag without a value is an empty text.
        system: The system message.
        agents: In the order in which they run.
        retry: `append` and `max_new_tokens` of the continuation of an incomplete answer; None if there is none.
    """

    family: str
    repositories: Mapping[str, str]
    task: str | None
    flags: Mapping[str, str]
    system: str
    agents: tuple[ReleasedAgent, ...]
    retry: Mapping[str, Any] | None


def code_folder(checkout: Path) -> Path:
    """The folder of a checkout that holds `run.py` and `prompts.py`: itself, or `inference/`.

    Raises:
        InputError: Neither does.
    """
    needed = ("run.py", "prompts.py", "load_from_repo.py", "hf_resolver.py", "inference_utils/inference_mas.py")
    places = (checkout, checkout / "inference")
    for place in places:
        if all((place / name).is_file() for name in needed):
            return place
    place = next((each for each in places if (each / "run.py").is_file()), checkout)
    missing = next(name for name in needed if not (place / name).is_file())
    raise InputError(
        f"{checkout}: no copy of the paper's code: {place / missing} is missing; expected a checkout with run.py and "
        "prompts.py at its top or in inference/"
    )


def read_release(checkout: Path, style: str, dataset: str) -> ReleasedSystem:
    """Runs the copy's functions and turns what they say into prompts with our slots.

    Args:
        checkout: The copy, of either public layout.
        style: As the copy spells it, such as `sequential_light`.
        dataset: One of `DATASETS`.

    Raises:
        InputError: A file or function is missing, needs what is not known here, fails, or takes too long.
    """
    kind, columns = DATASETS[dataset], _COLUMNS.get(dataset, ())
    marks = _MARKS | {"question": _MARKS["question"] + _CHOICES} if kind == "choice" else _MARKS
    request = {
        "root": str(code_folder(checkout).resolve()),
        "style": style,
        "dataset": dataset,
        "kind": kind,
        "marks": marks,
        "columns": columns,
    }
    reply = _run(checkout, request)
    agents = tuple(
        _agent(checkout, agent, marks, "statement" if kind == "code" else "question", columns)
        for agent in reply.pop("agents")
    )
    return ReleasedSystem(**reply, agents=agents)


def _run(checkout: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    # -I and -S leave nothing to import but the standard library; no variable of the user's environment is passed on.
    command = [sys.executable, "-I", "-S", "-B", release_worker.__file__]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS, env={}
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{checkout}: its code did not answer within {_SECONDS} s") from None
    try:
        reply: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{checkout}: its code ended the process: {said[-1] if said else done.returncode}") from None
    if "error" in reply:
        raise InputError(f"{checkout}: {reply['error']}")
    return reply


def _agent(
    checkout: Path, agent: Mapping[str, Any], marks: Mapping[str, str], asked: str, columns: Sequence[str]
) -> ReleasedAgent:
    def template(texts: Sequence[Mapping[str, Any]]) -> str:
        shown = {
            tuple(each["has"]): _lines(f"{checkout}: {agent['id']}", each["text"], marks, asked, agent["slots"])
            for each in texts
        }
        return "".join(_merged(shown.__getitem__, columns, ()))

    first = agent["first_round_prompt"]
    return ReleasedAgent(agent["id"], template(agent["prompt"]), None if first is None else template(first))


def _lines(where: str, text: str, marks: Mapping[str, str], asked: str, slots: Mapping[str, str]) -> list[str]:
    """The lines of a prompt, with slots in place of marks and literal braces doubled."""
    if (times := text.count(marks[asked])) != 1:
        raise InputError(f"{where}: the prompt has the {asked} {times} times as it was given, expected once")
    names = {mark: name for name, mark in marks.items()} | {mark: f"latent:{edge}" for mark, edge in slots.items()}
    for mark, name in names.items():
        text = text.replace(mark, f"\0{name}\0")
    pieces = text.split("\0")
    filled = (
        f"{{{piece}}}" if at % 2 else piece.replace("{", "{{").replace("}", "}}") for at, piece in enumerate(pieces)
    )
    return "".join(filled).splitlines(keepends=True)


def _merged(shown: Callable[[tuple[bool, ...]], list[str]], columns: Sequence[str], has: tuple[bool, ...]) -> list[str]:
    """The lines that all variants share, and conditions on the columns that are left around those that they do not."""
    if len(has) == len(columns):
        return shown(has)
    column = columns[len(has)]
    condition = "task_type = function" if column == "task_type" else column
    full, empty = (_merged(shown, columns, (*has, each)) for each in (True, False))
    if full == empty:
        return full
    start = next((at for at, (a, b) in enumerate(zip(full, empty, strict=False)) if a != b), min(len(full), len(empty)))
    ending = zip(reversed(full[start:]), reversed(empty[start:]), strict=False)
    end = next((at for at, (a, b) in enumerate(ending) if a != b), min(len(full), len(empty)) - start)
    then, otherwise = ("".join(each[start : len(each) - end]) for each in (full, empty))
    middle = f"{{if {condition}}}{then}{{else}}{otherwise}{{end}}" if otherwise else f"{{if {condition}}}{then}{{end}}"
    return [*full[:start], middle, *full[len(full) - end :]]
