"""Writes a `system.yaml` with the prompts and settings of a user's own copy of the paper's code.

Source: docs/released-systems.md. Agents are hub ids, as the copy names them, or folders of the user.
"""

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml

from recursivemas.system.chat_template import ChatTemplate, template_reads
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.names import SCORINGS
from recursivemas.system.released_code import DATASETS, TASKS, ReleasedAgent, ReleasedSystem, read_release
from recursivemas.system.released_settings import Style
from recursivemas.system.system import System
from recursivemas.system.tokenizer import load_tokenizer

_DESCRIPTIONS: Mapping[str, str] = {
    "sequential": "A planner, a critic and a solver think in turn; the solver answers.",
    "mixture": "Experts in mathematics, code and science think in parallel; a summarizer answers.",
    "distillation": "A large expert plans; a smaller learner answers.",
    "deliberation": "A reflector thinks; a tool caller answers and may use tools.",
}
_ROLES = {"math": "mathematics expert", "code": "code expert", "science": "science expert", "toolcaller": "tool caller"}
_DECIDER = {"math": "math", "choice": "choice", "code": "code"}
_NEEDS = {"math": "box", "choice": "choice", "code": "code"}
_ALLOWED_TOOLS = ("python", "search")


def import_release(
    checkout: Path,
    style: Style,
    task: str,
    out: Path,
    agents: Mapping[str, Path],
    outer: Path | None = None,
    date: datetime.date | None = None,
) -> System:
    """Reads a copy and writes a system.

    Args:
        checkout: The copy of the paper's code.
        style: Which system.
        task: A key of `TASKS` or `DATASETS`; the questions that the system is asked.
        out: The YAML file; its stem is the system's name.
        agents: Folders by role, in place of the copy's hub ids.
        outer: Folder of the outer links, in place of the copy's hub id.
        date: What chat templates take for today that print the date; today by default.

    Returns:
        The system as `load_system` reads it.

    Raises:
        InputError: The copy, a folder or an option is not what it should be.
    """
    dataset = TASKS.get(task, task)
    if dataset not in DATASETS:
        raise InputError(f"--task {task!r}: expected one of {', '.join([*TASKS, *DATASETS])}")
    released = read_release(checkout, style.replace("-", "_"), dataset)
    ids = [agent.id for agent in released.agents]
    for role, folder in agents.items():
        if role not in ids:
            raise InputError(f"--agents {role}={folder}: style {style} has the roles {', '.join(ids)}")
        if not folder.is_dir():
            raise InputError(f"--agents {role}={folder}: no such folder")
    day = date or datetime.date.today()
    data = _system(released, style, dataset, out, agents, outer, day)
    System.parse(data, str(out))
    write_text_atomic(out, _header(style, dataset, out) + _yaml(data))
    from recursivemas.system.system import load_system

    return load_system(out)


def _system(
    released: ReleasedSystem,
    style: str,
    dataset: str,
    out: Path,
    folders: Mapping[str, Path],
    outer: Path | None,
    day: datetime.date,
) -> dict[str, Any]:
    flags, kind = released.flags, DATASETS[dataset]
    links = _relative(outer, out) if outer else released.repositories["outer"]
    scoring = next((each.name for each in SCORINGS if each.name == kind), "exact")
    return {
        "version": 1,
        "name": out.stem,
        "description": _DESCRIPTIONS[released.family],
        "pattern": released.family,
        "rounds": int(flags["num_recursive_rounds"]),
        "latent_steps": int(flags["latent_steps"]),
        "quantization": "q4f16_1",
        "agents": [_agent(agent, released, out, folders.get(agent.id), day) for agent in released.agents],
        "released_links": {"outer": links, **({"task": released.task} if released.task else {})},
        "decoding": _decoding(flags, released.retry, kind),
        "task": {"name": dataset, "scoring": scoring},
    }


def _agent(
    agent: ReleasedAgent, released: ReleasedSystem, out: Path, folder: Path | None, day: datetime.date
) -> dict[str, Any]:
    repository = released.repositories[agent.id]
    thinking, dated = _reads(repository, folder)
    options = ({"enable_thinking": False} if thinking else {}) | ({"date": day} if dated else {})
    deciding = agent is released.agents[-1]
    return {
        "id": agent.id,
        "role": _ROLES.get(agent.id, agent.id),
        "model": _relative(folder, out) if folder else repository,
        "chat_template": True,
        **({"chat_template_options": options} if options else {}),
        "system": released.system,
        **({"first_round_prompt": agent.first_round_prompt} if agent.first_round_prompt is not None else {}),
        "prompt": agent.prompt,
        "stop": "eos_token",
        **({"tools": list(_ALLOWED_TOOLS)} if deciding and "max_tool_rounds" in released.flags else {}),
    }


def _decoding(flags: Mapping[str, str], retry: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    top_k = int(flags.get("top_k", "-1"))
    tools = {"max_tool_calls": int(flags["max_tool_rounds"])} if "max_tool_rounds" in flags else {}
    return {
        "max_new_tokens": int(flags["max_new_tokens"]),
        "temperature": float(flags["temperature"]) if "do_sample" in flags else 0.0,
        "top_p": float(flags["top_p"]),
        "top_k": "checkpoint" if top_k < 0 else top_k,
        "repetition_penalty": float(flags.get("repetition_penalty", "1.0")),
        "seed": int(flags["seed"]),
        **({"answer_retry": {"needs": _NEEDS[kind], **retry}} if retry else {}),
        **tools,
    }


def _reads(repository: str, folder: Path | None) -> tuple[bool, bool]:
    """Whether an agent's chat template reads `enable_thinking`, and whether it prints the date.

    The template is that of the folder, or of the hub's cache; else the family in the repository's name decides.
    """
    if folder is None:
        cached = huggingface_hub.try_to_load_from_cache(repository, "tokenizer_config.json")
        folder = Path(cached).parent if isinstance(cached, str) else None
    if folder is None:
        name = repository.lower()
        return "qwen3" in name, "llama3" in name or "llama-3" in name
    template = ChatTemplate.of(load_tokenizer(folder))
    if template is None:
        raise InputError(f"{folder}: has no chat template, and the release's prompts need one")
    return template_reads(template)


def _relative(folder: Path, out: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), out.parent.resolve())).as_posix()


def _header(style: str, dataset: str, out: Path) -> str:
    links = Path("links") / f"{out.stem}.recursivelink.json"
    return (
        f"# `rmas import-release` wrote this from a copy of the paper's code: style {style}, data set {dataset}.\n"
        "# The prompts, system messages and settings are that copy's. Its links become a link file with\n"
        f"#   rmas links convert {out} --out {out.parent / links}\n"
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(data: Mapping[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20))
