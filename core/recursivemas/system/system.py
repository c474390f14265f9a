"""The typed system: agents in the order they run, edges between them, prompts, decoding, task.

Source: DESIGN `systems/<name>.yaml`, docs/recursion.md. The four patterns are four ways to write down a graph
(`graph.py`); nothing else knows them.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError
from recursivemas.system.files import refuse_newer
from recursivemas.system.graph import Edge, pattern_edges, resolve_edges
from recursivemas.system.prompt import Question, latent_edges, parse_template
from recursivemas.system.settings import Decoding, Training

Quantization = Literal["q0f32", "q0f16", "q4f32_1", "q4f16_1"]
Pattern = Literal["sequential", "mixture", "distillation", "deliberation", "graph"]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Agent(Closed):
    """One agent of a system.

    Attributes:
        id: Unique in the system.
        role: What people call it.
        model: Folder of a Hugging Face checkpoint, relative to the YAML file, or a hub id `owner/name`.
        revision: Hub revision to pin.
        chat_template: Whether the prompt is the user message of the checkpoint's chat template.
        prompt: Template (docs/recursion.md, rule 2).
        first_round_prompt: Used in round 1 in place of `prompt`.
        tools: Names of tools the agent may call while it decodes.
    """

    id: Identifier
    role: str = Field(min_length=1)
    model: str = Field(min_length=1)
    revision: str | None = None
    chat_template: bool = False
    prompt: str = Field(min_length=1)
    first_round_prompt: str | None = None
    tools: tuple[Literal["calculator", "search"], ...] = ()

    def prompt_for(self, round_index: int) -> str:
        """The template of a round, counted from 0."""
        return self.first_round_prompt if round_index == 0 and self.first_round_prompt is not None else self.prompt


class Task(Closed):
    """What the system is asked, and how an answer is judged.

    Attributes:
        name: Shown to people.
        description: How to read a question.
        data: JSONL file of `{"question", "answer", "choices"?}`, relative to the YAML file; held out.
        train: What links train on: `generator:<task>` for a synthetic task, else a JSONL file, relative to the YAML
            file.
        scoring: How an answer is compared.
    """

    name: str
    description: str = ""
    data: str | None = None
    train: str | None = None
    scoring: Literal["exact", "numeric", "choice"] = "exact"


class System(Closed):
    """A declared system; `edges` is always the resolved graph, whatever the pattern."""

    version: Literal[1]
    name: Identifier
    description: str = ""
    pattern: Pattern
    rounds: int = Field(ge=1, le=64)
    latent_steps: int = Field(ge=1, le=1024)
    quantization: Quantization = "q4f16_1"
    agents: tuple[Agent, ...] = Field(min_length=1)
    edges: tuple[Edge, ...] = ()
    decoding: Decoding = Decoding()
    training: Training = Training()
    task: Task | None = None

    @model_validator(mode="before")
    @classmethod
    def _edges_from_pattern(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("pattern") == "graph" or data.get("edges"):
            return data
        agents = data.get("agents")
        if not isinstance(agents, (list, tuple)):
            return data
        ids = [agent.get("id") if isinstance(agent, dict) else agent.id for agent in agents]
        return {**data, "edges": pattern_edges(str(data.get("pattern")), [str(each) for each in ids])}

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        ids = [agent.id for agent in self.agents]
        if repeated := {each for each in ids if ids.count(each) > 1}:
            raise InputError(f"agent id {sorted(repeated)[0]!r} appears twice; ids must be unique")
        resolve_edges(ids, self.edges)
        if self.pattern != "graph":
            expected = {(e["from"], e["to"]) for e in pattern_edges(self.pattern, ids)}
            if {(edge.source, edge.target) for edge in self.edges} != expected:
                raise InputError(f"edges do not match pattern {self.pattern!r}; leave them out or use pattern: graph")
        for agent in self.agents:
            self._check_prompts(agent)
        return self

    def _check_prompts(self, agent: Agent) -> None:
        incoming = {edge.id: edge for edge in self.incoming(agent.id)}
        for name, template in (("prompt", agent.prompt), ("first_round_prompt", agent.first_round_prompt)):
            if template is None:
                continue
            segments = parse_template(template)
            slots = latent_edges(segments)
            if not any(isinstance(segment, Question) for segment in segments):
                raise InputError(f"agent {agent.id!r}: {name} has no {{question}} slot")
            for slot in slots:
                if slot not in incoming:
                    raise InputError(
                        f"agent {agent.id!r}: {name} has a slot {{latent:{slot}}} without an edge; "
                        f"edges that arrive at it: {', '.join(incoming) or 'none'}"
                    )
            for edge in incoming.values():
                needed = 0 if edge.feedback and name == "first_round_prompt" else 1
                if not needed <= slots.count(edge.id) <= 1:
                    raise InputError(
                        f"agent {agent.id!r}: {name} must have the slot {{latent:{edge.id}}} exactly once, "
                        f"it has it {slots.count(edge.id)} times"
                    )

    def agent(self, agent_id: str) -> Agent:
        """The agent of an id; `KeyError` when there is none."""
        for agent in self.agents:
            if agent.id == agent_id:
                return agent
        raise KeyError(agent_id)

    def incoming(self, agent_id: str) -> tuple[Edge, ...]:
        """Edges that arrive at an agent, in declared order."""
        return tuple(edge for edge in self.edges if edge.target == agent_id)

    def outgoing(self, agent_id: str) -> tuple[Edge, ...]:
        """Edges that leave an agent, in declared order."""
        return tuple(edge for edge in self.edges if edge.source == agent_id)

    @property
    def deciding_agent(self) -> Agent:
        """The last agent, the only one that decodes text."""
        return self.agents[-1]


def load_system(path: str | Path) -> System:
    """Reads and checks a `systems/<name>.yaml`.

    Local model folders and the task's data file come back as absolute paths; hub ids stay as they are.

    Raises:
        InputError: When the file is missing, is not YAML, or breaks the schema or the graph's rules.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such system file; expected a YAML file such as systems/hop-sequential.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    refuse_newer(data, 1, path, "system file")
    system = System.parse(data, str(path))
    agents = tuple(
        agent.model_copy(update={"model": _resolve_model(agent.model, path.parent)}) for agent in system.agents
    )
    task = system.task
    if task is not None:
        files = {key: value for key in ("data", "train") if (value := getattr(task, key)) is not None}
        local = {key: value for key, value in files.items() if not value.startswith("generator:")}
        task = task.model_copy(update={key: str((path.parent / value).resolve()) for key, value in local.items()})
    return system.model_copy(update={"agents": agents, "task": task})


def _resolve_model(model: str, base: Path) -> str:
    folder = (base / model).resolve()
    if folder.is_dir() or not _HUB_ID.fullmatch(model):
        return str(folder)
    return model
