"""Jobs of the evidence: one tiny system and one seed, trained and measured against every baseline and control.

The work folder keeps finished jobs and measured cells, so a stopped run continues where it was. A job's files are named
by what it measures (`job_key`): a changed system, question or agent begins a job of its own.
"""

import functools
import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System, load_system
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.evaluation.evaluate import Cell, evaluate
from recursivemas.training.evidence.report import MEANS, SWEEP
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks.data import TrainingData, load_records
from recursivemas.training.train.trainer import new_links, train_system

QUESTIONS = 540
TEXT_VOTES = 4
FROM_RIDGE = {"learning_rate": 5e-5, "steps": 60}


@dataclass(frozen=True)
class Experiment:
    """A system to be measured.

    Attributes:
        system: YAML file in `systems/`.
        sweeps: Whether to measure other numbers of latent steps, and one round more than trained for.
        depths: Rounds to train for with cross-entropy from ridge links, which still get answers wrong.
        sampled_text: Whether to sample text at temperature 1, once and by vote.
    """

    system: str
    sweeps: bool = False
    depths: tuple[int, ...] = ()
    sampled_text: bool = False


EXPERIMENTS: dict[str, Experiment] = {
    "chain": Experiment("hop-sequential.yaml", sweeps=True, depths=(1, 2, 3), sampled_text=True),
    "superposition": Experiment("drift-sequential.yaml", sweeps=True, sampled_text=True),
    "mixture": Experiment("drift-mixture.yaml"),
    "distillation": Experiment("hop-distillation.yaml"),
    "deliberation": Experiment("fare-deliberation.yaml"),
}


class ShuffledAnswers(TrainingData):
    """Control: every question gets its neighbour's answer, so links can only learn what answers look like."""

    def batch(self, stream: int, step: int, size: int) -> list[QuestionRecord]:
        """As `TrainingData.batch`, answers moved by one."""
        records = super().batch(stream, step, size)
        answers = [record.answer for record in records]
        moved = [*answers[1:], answers[0]]
        return [record.model_copy(update={"answer": answer}) for record, answer in zip(records, moved, strict=True)]


def vote_of(cells: Sequence[Cell]) -> Cell:
    """Several samples of every question as one cell, with the tokens, positions and time of all samples.

    A question counts as right if at least half of its samples are, so a tie counts in favour of text.
    """
    correct = tuple(2 * sum(marks) >= len(cells) for marks in zip(*(cell.correct for cell in cells), strict=True))
    spent = {name: sum(getattr(cell, name) for cell in cells) for name in (*MEANS, "kept_positions")}
    return replace(cells[0], correct=correct, answers=(), by_group={}, **spent)


def job_key(name: str, seed: int, systems: Path) -> str:
    """Names a job: experiment, seed, and a hash of the system's YAML, its local data files and its local agents.

    The training code plays no part; after a change to it, use an empty work folder.
    """
    path = systems / EXPERIMENTS[name].system
    system = load_system(path)
    task = [] if system.task is None else [system.task.data, system.task.train]
    files = [path, *(Path(source) for source in task if source is not None and Path(source).is_file())]
    for agent in system.agents:
        folder = Path(agent.model)
        files += sorted(each for each in folder.glob("*") if each.is_file()) if folder.is_dir() else []
    sums = [sha256_of(file) for file in files]
    return f"{name}-{seed}-{hashlib.sha256(' '.join(sums).encode()).hexdigest()[:12]}"


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Lines of a file of cells or of a log; one that a kill cut off is left out, so that its cell is measured again."""
    cells = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):
            cells.append(json.loads(line))
    return cells


def append_cell(path: Path, cell: dict[str, Any]) -> None:
    """Adds a cell to those measured so far, on a line of its own also behind one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if cut else "") + json.dumps(cell) + "\n")


@dataclass
class Job:
    """One system and one seed."""

    name: str
    seed: int
    work: Path
    systems: Path
    cells: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        experiment = EXPERIMENTS[self.name]
        system = load_system(self.systems / experiment.system)
        training = system.training.model_copy(update={"seed": self.seed})
        self.experiment = experiment
        self.system: System = system.model_copy(update={"training": training})
        assert system.task is not None and system.task.data is not None and system.task.train is not None
        self.records = load_records(system.task.data)[:QUESTIONS]
        self.source = system.task.train
        self.agents: dict[str, LoadedAgent] = load_agents(self.system)
        if self.partial.is_file():
            self.cells += read_cells(self.partial)

    @functools.cached_property
    def folder(self) -> Path:
        """Where this job trains."""
        return self.work / job_key(self.name, self.seed, self.systems)

    @property
    def partial(self) -> Path:
        """Cells measured so far, one a line."""
        return self.folder / "cells.jsonl"

    def keep(self, cell: dict[str, Any]) -> None:
        """Keeps a cell, in memory and on disk."""
        self.cells.append(cell)
        append_cell(self.partial, cell)

    def measure(self, row: str, links: LinkFile | None, **options: Any) -> None:
        """Measures one cell under a row's name, unless it was measured before."""
        asked = {"mode": "latent", "latent_steps": self.system.latent_steps, "control": "none", **options}
        if any(cell["row"] == row and all(cell[key] == asked[key] for key in asked) for cell in self.cells):
            return
        module = None if links is None else Links.from_file(links).requires_grad_(False)
        cell = evaluate(Recursion(self.system, self.agents, module), self.records, seed=self.seed, **options)
        self._keep_cell(row, cell)

    def _keep_cell(self, row: str, cell: Cell) -> None:
        correct = "".join("01"[right] for right in cell.correct)
        self.keep({"row": row, "seed": self.seed, **cell.row(), "correct": correct})

    def rounds(self) -> range:
        """1 to the system's rounds."""
        return range(1, self.system.rounds + 1)

    def train(
        self, name: str, data: TrainingData | None, start: LinkFile | None, rounds: int | None = None
    ) -> LinkFile:
        """Trains links into a folder of their own, unless they are already there.

        Cross-entropy that does not begin with aligned links has more to learn and gets a larger rate.
        """
        training = self.system.training
        if start is not None:
            training = training.model_copy(update={"outer": training.outer.model_copy(update=FROM_RIDGE)})
        system = self.system.model_copy(update={"rounds": rounds or self.system.rounds, "training": training})
        out = self.folder / name
        train_system(system, out, resume=True, agents=self.agents, data=data, start=start)
        return load_links(out / "recursivelink.json")

    def run(self) -> None:
        """Trains and measures everything."""
        trained = self.train("main", None, None)
        names = ("random", "started", "aligned")
        stages = {name: load_links(self.folder / "main" / "stages" / f"{name}.json") for name in names}
        last = self.system.rounds
        for rounds in self.rounds():
            self.measure("trained links", trained, rounds=rounds)
            self.measure("text, greedy", None, mode="text", rounds=rounds)
        untrained = new_links(self.system, self.agents).to_file(self.system.name, {"stage": "new"})
        self.measure("random links, inner and outer", untrained, rounds=last)
        self.measure("untrained outer links", stages["random"], rounds=last)
        self.measure("ridge links", stages["started"], rounds=last)
        self.measure("aligned links, no cross-entropy (warm start)", stages["aligned"], rounds=last)
        self.measure("deciding agent alone", None, mode="single", rounds=1)
        self.measure("deciding agent looped", trained, mode="loop", rounds=last)
        self.measure("control: hand-offs are zeros", trained, rounds=last, control="zeros")
        self.measure("control: another question's hand-offs", trained, rounds=last, control="other_question")
        if self.experiment.sampled_text:
            self._sampled_text()
        if self.experiment.sweeps:
            for steps in (1, 3, 4):
                self.measure(SWEEP, trained, rounds=last, latent_steps=steps)
            self.measure("trained links", trained, rounds=last + 1)
        self._depths(stages["started"])

    def _sampled_text(self) -> None:
        """Text sampled at temperature 1, once and by vote."""
        if any(cell["row"].startswith("text, sampled, vote") for cell in self.cells):
            return
        recursion = Recursion(self.system, self.agents, None)
        seeds = [1000 * self.seed + vote for vote in range(TEXT_VOTES)]
        cells = [evaluate(recursion, self.records, "text", temperature=1.0, seed=seed) for seed in seeds]
        self._keep_cell("text, sampled", cells[0])
        self._keep_cell(f"text, sampled, vote of {TEXT_VOTES}", vote_of(cells))

    def _depths(self, ridge: LinkFile) -> None:
        """Cross-entropy alone, from ridge links: training depth, and what the answers teach."""
        for depth in self.experiment.depths:
            links = self.train(f"depth{depth}", None, ridge, depth)
            for rounds in self.rounds():
                self.measure(f"ridge links, then cross-entropy for {depth} rounds", links, rounds=rounds)
        if self.experiment.depths:
            shuffled = self.train("shuffled", ShuffledAnswers(self.source, self.seed), ridge)
            row = "control: ridge links, then cross-entropy on shuffled answers"
            self.measure(row, shuffled, rounds=self.system.rounds)


def run_job(name: str, seed: int, work: Path, systems: Path) -> Path:
    """Runs one job, unless its result is already there (`job_key`); returns the result's file."""
    path = work / f"{job_key(name, seed, systems)}.json"
    if path.is_file():
        return path
    torch.set_num_threads(1)
    began = time.process_time()
    job = Job(name, seed, work, systems)
    whole = not job.cells
    job.run()
    # The time of a job that continues an earlier process is not known.
    seconds = round(time.process_time() - began, 1) if whole else None
    write_text_atomic(path, json.dumps(raw_record(name, seed, job.folder, seconds)) + "\n")
    return path


def raw_record(name: str, seed: int, folder: Path, cpu_seconds: float | None) -> dict[str, Any]:
    """What a job has found so far; `cpu_seconds` is None if it was stopped in between."""
    # Gradients say little when alignment has left nothing to learn, so those from ridge links are preferred.
    depths = EXPERIMENTS[name].depths
    metrics = folder / (f"depth{max(depths)}" if depths else "main") / "metrics.jsonl"
    log = [line for line in read_cells(metrics) if line["phase"] == "outer"] if metrics.is_file() else []
    return {
        "experiment": name,
        "seed": seed,
        "cpu_seconds": cpu_seconds,
        "cells": read_cells(folder / "cells.jsonl"),
        "outer_log": log,
    }


def found_so_far(name: str, seed: int, work: Path, systems: Path) -> dict[str, Any] | None:
    """The raw results of a job, finished or not; None when it has measured nothing."""
    key = job_key(name, seed, systems)
    if (work / f"{key}.json").is_file():
        record: dict[str, Any] = json.loads((work / f"{key}.json").read_text(encoding="utf-8"))
        return record
    return raw_record(name, seed, work / key, None) if (work / key / "cells.jsonl").is_file() else None
