"""What `rmas tune` found about a system, and how it is written into the system's file beside its comments."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from recursivemas.system.closed import Closed, added, written_to
from recursivemas.system.early_stopping import Calibrated
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.strict import MOST_YAML_BYTES, parse_yaml, read_text


class Tuned(Closed):
    """Evidence for the numbers of rounds and latent steps of a system, which `rmas tune` chose."""

    rounds: int = Field(ge=1)
    """Rounds that were chosen."""
    latent_steps: int = Field(ge=1)
    """Latent steps that were chosen."""
    accuracy: Annotated[float, written_to(4)] = Field(ge=0, le=1)
    """Accuracy on the questions that the choice did not see."""
    low: Annotated[float, written_to(4)] = Field(ge=0, le=1)
    """Lower end of its 95% interval."""
    high: Annotated[float, written_to(4)] = Field(ge=0, le=1)
    """Upper end of its 95% interval."""
    questions: int = Field(ge=1)
    """How many questions the choice did not see."""
    forward_positions: Annotated[float, written_to(2)] = Field(ge=0)
    """Mean positions that the agents compute for a question."""
    budget_positions: float | None = Field(default=None, gt=0)
    """The most that they were allowed."""
    data: str
    """Name of the file of questions."""
    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its sha256."""
    links_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The sha256 of the link file."""
    early_stopping: Calibrated | None = added(None)
    """Evidence for the threshold of early stopping, if there is one."""


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Sets rounds, latent steps, `tuned` and the threshold of early stopping in a system's file.

    Everything else, comments too, stays as it is. A threshold without evidence is removed: it belonged to other rounds.

    Raises:
        InputError: The file is not in block style, or one of the keys is an alias.
    """
    text = read_text(path, "system file", MOST_YAML_BYTES)
    parse_yaml(text, str(path))  # refuses what the project does not read
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise InputError(f"{path}: expected a mapping in block style, one key a line, to write the chosen values into")
    keys = {key.value: value for key, value in root.value}
    steps_of = keys
    if isinstance(task := keys.get("task"), yaml.MappingNode):
        own = {key.value: value for key, value in task.value}
        steps_of = own if "latent_steps" in own else keys  # the task's own number goes before the system's
    edits = [
        (keys["rounds"].start_mark.index, keys["rounds"].end_mark.index, str(tuned.rounds)),
        (
            steps_of["latent_steps"].start_mark.index,
            steps_of["latent_steps"].end_mark.index,
            str(tuned.latent_steps),
        ),
    ]
    if any(not text[begin:end].strip().isdecimal() for begin, end, _ in edits):
        raise InputError(f"{path}: rounds and latent_steps must be plain numbers to be replaced; write them out")
    calibrated = tuned.early_stopping
    blocks = {
        "early_stopping": None if calibrated is None else {"threshold": calibrated.threshold},
        "tuned": tuned.model_dump(mode="json", exclude_none=True),
    }
    added = ""
    for name, content in blocks.items():
        block = "" if content is None else yaml.safe_dump({name: content}, sort_keys=False)
        earlier = next(((key, value) for key, value in root.value if key.value == name), None)
        if earlier is None:
            added += block
        else:
            edits.append((earlier[0].start_mark.index, earlier[1].end_mark.index, block))
    edits.append((len(text), len(text), ("" if text.endswith("\n") or not added else "\n") + added))
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    parse_yaml(text, str(path))
    write_text_atomic(path, text)
