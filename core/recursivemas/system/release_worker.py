"""Runs the functions of a copy of the paper's code that write prompts and settings, in a process of its own.

`released_code.py` starts this file with `python -I -S`, so that nothing but the standard library and the copy can be
imported. An audit hook refuses network, processes and writing; time and memory are limited. It reads a request from
standard input and answers with JSON. Source: docs/released-systems.md.
"""

import ast
import importlib
import io
import itertools
import json
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

_MEMORY_BYTES = 1 << 30
_RUNNERS = ("inference_mas", "inference_mas_mixture", "inference_mas_distill", "inference_mas_deliberation")
_REFUSED = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "ctypes.",
    "pty.",
)
_WRITES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.")

# (role, function for the first round, function for later rounds, edge by the name of its slot's constant)
_PROMPTS: Mapping[str, tuple[tuple[str, str | None, str, Mapping[str, str]], ...]] = {
    "sequential": (
        (
            "planner",
            "build_{task}_planner_prompt",
            "build_{task}_planner_prompt_with_feedback_slot",
            {"FEEDBACK_SLOT": "solver->planner"},
        ),
        ("critic", None, "build_{task}_refiner_prompt_with_slot", {"PLANNER_SLOT": "planner->critic"}),
        ("solver", None, "build_{task}_solver_prompt_with_slots", {"REFINED_SLOT": "critic->solver"}),
    ),
    "mixture": (
        *(
            (
                role,
                "build_hie_expert_prompt",
                "build_hie_expert_prompt_with_feedback_slot",
                {"HIE_FEEDBACK_SLOT": f"summarizer->{role}"},
            )
            for role in ("math", "code", "science")
        ),
        (
            "summarizer",
            None,
            "build_hie_summarizer_prompt_with_slots",
            {f"HIE_{role.upper()}_EXPERT_SLOT": f"{role}->summarizer" for role in ("math", "code", "science")},
        ),
    ),
    "distillation": (
        (
            "expert",
            "build_distill_expert_prompt",
            "build_distill_expert_prompt_with_feedback_slot",
            {"DISTILL_FEEDBACK_SLOT": "learner->expert"},
        ),
        ("learner", None, "build_distill_learner_prompt_with_slot", {"DISTILL_EXPERT_SLOT": "expert->learner"}),
    ),
    "deliberation": (
        (
            "reflector",
            "build_deliberation_reflector_prompt",
            "build_deliberation_reflector_prompt_with_feedback_slot",
            {"DELIBERATION_FEEDBACK_SLOT": "toolcaller->reflector"},
        ),
        (
            "toolcaller",
            None,
            "build_deliberation_toolcaller_prompt_with_slot",
            {"DELIBERATION_REFLECTOR_SLOT": "reflector->toolcaller"},
        ),
    ),
}


class _RefusedError(Exception):
    """What the reply says went wrong, in one line."""


class _StartedError(BaseException):
    """The copy's runner has started a pattern's program; nothing of it catches this."""


def _guard(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event.startswith((*_REFUSED, *_WRITES)):
        raise _RefusedError(f"its code asks for {event}, which import-release does not allow")
    mode, flags = (args[1] or "", args[2] or 0) if event == "open" else ("", 0)
    if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        raise _RefusedError(f"its code writes to {args[0]!r}, which import-release does not allow")


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _import(name: str, what: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except _RefusedError:
        raise
    except ImportError as error:
        raise _RefusedError(
            f"{what} imports {error.name or error}, which is neither in the copy nor in Python's standard library"
        ) from None
    except Exception as error:
        raise _RefusedError(f"{what} cannot be imported: {type(error).__name__}: {error}") from None


def _attribute(module: types.ModuleType, name: str, file: str) -> Any:
    if not hasattr(module, name):
        raise _RefusedError(f"{file} has no {name}")
    return getattr(module, name)


def _part_of(path: Path, name: str) -> Any:
    """A function or a constant of a file, run with what it refers to and nothing else of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts: dict[str, ast.stmt] = {}
    imports: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            parts[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts |= {target.id: node for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if (module or "").partition(".")[0] in sys.stdlib_module_names and not getattr(node, "level", 0):
                imports.append(node)
    if name not in parts:
        raise _RefusedError(f"{path.name} has no {name}")
    wanted, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current in parts and current not in wanted:
            wanted.add(current)
            waiting += [each.id for each in ast.walk(parts[current]) if isinstance(each, ast.Name)]
    kept = [node for node in tree.body if any(parts.get(each) is node for each in wanted)]
    lazy = ast.parse("from __future__ import annotations").body
    namespace: dict[str, Any] = {"__name__": path.stem}
    try:
        exec(compile(ast.Module([*lazy, *imports, *kept], []), str(path), "exec"), namespace)
    except Exception as error:
        raise _RefusedError(f"{path.name}: {name} cannot be read: {type(error).__name__}: {error}") from None
    return namespace[name]


def _stand_ins(root: Path) -> None:
    """Puts modules into the place of those that need torch or the network."""

    def start() -> None:
        raise _StartedError(sys.argv[1:])

    resolver = types.ModuleType("hf_resolver")
    path = root / "hf_resolver.py"
    resolver.snapshot_repo = Path  # type: ignore[attr-defined]
    resolver.resolve_inner_adapter = lambda folder, task=None: Path(folder)  # type: ignore[attr-defined]
    resolver.resolve_outer_paths = _AnyPath  # type: ignore[attr-defined]
    resolver.resolve_medqa_dataset_arg = lambda dataset, root=None: dataset  # type: ignore[attr-defined]
    resolver.task_for_inner_repo = _part_of(path, "task_for_inner_repo")  # type: ignore[attr-defined]
    sys.modules["hf_resolver"] = resolver
    for name in _RUNNERS:
        module = types.ModuleType(f"inference_utils.{name}")
        module.main = start  # type: ignore[attr-defined]
        module.__file__ = str(root / "inference_utils" / f"{name}.py")
        sys.modules[module.__name__] = module
    settings = _part_of(root / "inference_utils/inference_mas.py", "get_release_recommended_settings")
    sys.modules["inference_utils.inference_mas"].get_release_recommended_settings = settings  # type: ignore[attr-defined]


class _AnyPath(dict[str, Path]):
    """A path for every outer link of a task."""

    tasks: ClassVar[list[str | None]] = []

    def __init__(self, folder: Path, task: str | None = None) -> None:
        self.folder = folder
        self.tasks.append(task)

    def __missing__(self, key: str) -> Path:
        return self.folder / key


def _flags(arguments: Iterable[str]) -> dict[str, str]:
    """`--name value` and `--name` as a mapping; a flag without a value is an empty text."""
    flags: dict[str, str] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:]
            flags[name] = ""
        else:
            flags[name] = argument
    return flags


def _settings(root: Path, style: str, dataset: str) -> dict[str, str]:
    """What the copy's `run.py` passes to the program of a pattern."""
    _stand_ins(root)
    run = _import("run", "run.py")
    sys.argv = ["run.py", "--style", style, "--dataset", dataset]
    messages, said = sys.stderr, io.StringIO()
    sys.stderr = said
    try:
        _attribute(run, "main", "run.py")()
    except _StartedError as started:
        return _flags(started.args[0])
    except (_RefusedError, MemoryError):
        raise
    except SystemExit:
        lines = said.getvalue().strip().splitlines()
        raise _RefusedError(
            f"run.py refuses --style {style} --dataset {dataset}: {lines[-1] if lines else 'it ends'}"
        ) from None
    except Exception as error:
        raise _RefusedError(f"run.py cannot be run: {type(error).__name__}: {error}") from None
    finally:
        sys.stderr = messages
    raise _RefusedError("run.py ends without starting a program of inference_utils")


# What a question may say itself; a copy then does not say it again.
_ASKS_TO_CHOOSE = "\nChoose the correct option."


def _questions(root: Path, kind: str, dataset: str, marks: Mapping[str, str]) -> Callable[[Mapping[str, bool]], str]:
    """The text of a question as the copy's data sets build it, with a mark in place of each column.

    Returns:
        A function of which columns hold something.
    """
    tools = root / "inference_utils"
    if kind == "choice":
        closing = _part_of(tools / "answer_utils.py", "ensure_choice_instruction")
        return lambda has: str(closing(marks["question"] + (_ASKS_TO_CHOOSE if has["instructed"] else "")))
    if dataset == "mbppplus":
        build = _part_of(tools / "lcb_utils.py", "build_mbppplus_sample_meta")

        def mbpp(has: Mapping[str, bool]) -> str:
            lines = [marks["assertions"]] if has["assertions"] else []
            return str(build({"prompt": marks["statement"], "test": "", "test_list": lines})["question"])

        return mbpp
    if kind == "code":
        build = _part_of(tools / "lcb_utils.py", "build_lcb_sample_meta")

        def contest(has: Mapping[str, bool]) -> str:
            code = marks["starter_code"] if has["starter_code"] else ""
            row = {"question_content": marks["statement"], "starter_code": code}
            return str(build(row, use_private_tests=False)["question"])

        return contest
    return lambda has: marks["question"]


def _call(function: Callable[..., str], known: Mapping[str, Any]) -> str:
    import inspect

    arguments = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in known:
            arguments[name] = known[name]
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise _RefusedError(
                f"prompts.py: {function.__name__} needs the argument {name!r}, which import-release does not know"
            )
    try:
        text = function(**arguments)
    except (_RefusedError, MemoryError):
        raise
    except Exception as error:
        raise _RefusedError(f"prompts.py: {function.__name__} fails: {type(error).__name__}: {error}") from None
    if not isinstance(text, str):
        raise _RefusedError(f"prompts.py: {function.__name__} returns a {type(text).__name__}, expected a text")
    return text


def _prompts(
    root: Path, request: Mapping[str, Any], family: str, flags: Mapping[str, str], prompts: types.ModuleType
) -> list[dict[str, Any]]:
    """The prompts of every agent, once for each way in which the columns of a question can be empty."""
    kind, marks, columns = request["kind"], request["marks"], request["columns"]
    question = _questions(root, kind, request["dataset"], marks)
    numbers = {name: int(value) for name, value in flags.items() if value.lstrip("-").isdigit()}
    cases = [dict(zip(columns, has, strict=True)) for has in itertools.product((True, False), repeat=len(columns))]

    def texts(role: str, name: str) -> list[dict[str, Any]]:
        function = _attribute(prompts, name, "prompts.py")
        shown = []
        for has in cases:
            known = {
                "question": question(has),
                "task_type": "function" if has.get("task_type", True) else "complete",
                "fn_name": marks["fn_name"] if has.get("fn_name") else None,
                "args": types.SimpleNamespace(**{**flags, **numbers}),
                "mas_shape": flags.get("mas_shape", "chain"),
                "mas_task": kind,
                "hie_role": f"hie_{role}_expert",
            }
            text = _call(function, known).replace(marks["question"] + _ASKS_TO_CHOOSE, marks["question"])
            shown.append({"has": list(has.values()), "text": text})
        return shown

    made = []
    for role, first, later, slots in _PROMPTS[family]:
        task = "code" if kind == "code" else "math"
        name = later.format(task=task)
        if kind == "code" and role == "planner" and not _passes_task(root):
            name = later.format(task="math")
        made.append(
            {
                "id": role,
                "prompt": texts(role, name),
                "first_round_prompt": None if first is None else texts(role, first.format(task=task)),
                "slots": {str(_attribute(prompts, constant, "prompts.py")): edge for constant, edge in slots.items()},
            }
        )
    return made


def _passes_task(root: Path) -> bool:
    """Whether the copy's runner tells the planner of later rounds that a question is about code."""
    tree = ast.parse((root / "inference_utils/inference_mas.py").read_text(encoding="utf-8"))
    calls = [
        {keyword.arg for keyword in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "run_planner_feedback_latent_stage"
    ]
    return all("task_types" in keywords for keywords in calls)


def _retry(root: Path, kind: str) -> dict[str, Any] | None:
    """How the copy continues an incomplete answer: the text that follows it, and the number of tokens."""
    tree = ast.parse((root / "inference_utils/inference_mas.py").read_text(encoding="utf-8"))
    stage = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run_answer_retry_stage"), None)
    if stage is None:
        return None
    found: dict[str, list[ast.expr]] = {"retry_suffix": [], "retry_max_new_tokens": []}
    for node in ast.walk(stage):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in found:
            found[node.targets[0].id].append(node.value)
    suffixes = [str(each.value) for each in found["retry_suffix"] if isinstance(each, ast.Constant)]
    numbers = [each.value for each in found["retry_max_new_tokens"] if isinstance(each, ast.Constant)]
    defaults = [each.value for each in stage.args.defaults if isinstance(each, ast.Constant)]
    if kind == "code":
        text = _part_of(root / "inference_utils/lcb_utils.py", "build_code_reparse_suffix")()
        return {"append": f"\n{text}", "max_new_tokens": numbers[0] if numbers else 256}
    chosen = [text for text in suffixes if ("choice" in text.lower()) == (kind == "choice")]
    if not chosen:
        return None
    return {"append": f"\n{chosen[0]}", "max_new_tokens": defaults[-1] if defaults else 16}


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    root, style = Path(request["root"]), request["style"]
    sys.path.insert(0, str(root))
    styles = _attribute(_import("load_from_repo", "load_from_repo.py"), "STYLE_SPECS", "load_from_repo.py")
    if style not in styles:
        raise _RefusedError(f"load_from_repo.py knows no style {style!r}; it has {', '.join(sorted(styles))}")
    family = str(styles[style]["family"])
    if family not in _PROMPTS:
        raise _RefusedError(
            f"load_from_repo.py gives style {style!r} the family {family!r}; expected {', '.join(_PROMPTS)}"
        )
    flags = _settings(root, style, request["dataset"])
    prompts = _import("prompts", "prompts.py")
    if family == "deliberation":
        system = _attribute(prompts, "get_system_prompt", "prompts.py")("deliberation")
    else:
        system = _attribute(prompts, "SYSTEM_PROMPT", "prompts.py")
    return {
        "family": family,
        "repositories": {key: str(value) for key, value in styles[style]["repos"].items()},
        "task": _AnyPath.tasks[-1] if _AnyPath.tasks else None,
        "flags": flags,
        "system": str(system),
        "agents": _prompts(root, request, family, flags, prompts),
        "retry": _retry(root, request["kind"]) if "ans" in flags else None,
    }


def main() -> None:
    """Answers the request on standard input; what the copy prints goes to standard error."""
    request = json.load(sys.stdin.buffer)
    reply_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _limit()
    sys.dont_write_bytecode = True
    sys.addaudithook(_guard)
    try:
        reply = _answer(request)
    except _RefusedError as error:
        reply = {"error": " ".join(str(error).split())[:300]}
    except MemoryError:
        reply = {"error": "its code needs too much memory"}
    except (OSError, SyntaxError) as error:
        reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    json.dump(reply, reply_to)
    reply_to.flush()


if __name__ == "__main__":
    main()
