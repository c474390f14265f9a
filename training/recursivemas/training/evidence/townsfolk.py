"""Jobs of the townsfolk system: real agents with links.

A job is one part of one seed, so that parts run side by side. Each part keeps its measured cells, one a line, and goes
on where it was stopped; the written record holds the cells, too, so that another machine can go on. A cell counts as
long as system, agents, questions and links are the same. Text of the agents does not depend on the seed, unless it is
sampled.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from matplotlib.figure import Figure
from torch import Tensor

from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.progress import Progress
from recursivemas.system.questions import Asked
from recursivemas.system.system import System, load_system
from recursivemas.training.agents import LoadedAgent, checksums
from recursivemas.training.evaluation.evaluate import Cell, evaluate
from recursivemas.training.evaluation.report import versions
from recursivemas.training.evidence.jobs import TEXT_VOTES, ShuffledAnswers, read_cells, vote_of
from recursivemas.training.evidence.report import aggregate, draw_rows, draw_stability, gradient_norms, handoff_keys
from recursivemas.training.figures import save_figure
from recursivemas.training.kept import KeptPrefixes
from recursivemas.training.links import Links
from recursivemas.training.loading import chosen_device, load_weights
from recursivemas.training.recursion import HandOffHook, Recursion
from recursivemas.training.tasks.data import load_records
from recursivemas.training.train.soft_prompts import soft_prompt_hook
from recursivemas.training.train.trainer import new_links, settings_record, train_system

NAME = "townsfolk"
SYSTEM = "townsfolk.yaml"
QUESTIONS = 504
TRAINED = "trained links"
"""The row of the links that ship."""
BATCH = 252
CURVE = (20, 40)
"""Steps of cross-entropy, from the links that ship, after which accuracy is measured."""
TEXT_TOKENS = (None, 2, 8)
"""Tokens of a hand-off in text: the agent's latent steps, too few for a request, and more than any agent needs."""
SAMPLED = "text, sampled, as many tokens as latents"
OTHER_SAMPLES = tuple(f"{SAMPLED}, sample {number}" for number in range(2, TEXT_VOTES + 1))
"""Cells that count only in the vote, which the tables show as one row."""
ALONE = "Facts: {all_facts}\nQuestion: {question}\nNext:\n"
"""The deciding agent's prompt with everybody's facts."""
SHUFFLED_STEPS = 20
SOFT_PROMPTS = {"steps": 200, "learning_rate": 1e-3, "batch_size": 12, "early_weight": 0.0}
"""Vectors start at random and need more and larger steps than links that work already. All rounds are alike to them."""


class SharedPrefixes(Recursion):
    """Keeps what agents read before their first slots for all cells, because it depends on no link.

    Attributes:
        shelf: By the questions of a batch.
    """

    shelf: dict[tuple[str, ...], KeptPrefixes]

    def kept(self, questions: Sequence[Asked], rounds: int) -> KeptPrefixes:
        """As `Recursion.kept`, from the shelf if it is there; a single round keeps its prefixes, too."""
        key = tuple(str(question) for question in questions)
        if key not in self.shelf:
            self.shelf[key] = KeptPrefixes(self.agents, questions, max(rounds, 2))
        return self.shelf[key]


@dataclass
class Part:
    """One part of one seed.

    Attributes:
        name: A key of `PARTS`.
        seed: Of links and data.
        work: Folder of all parts.
        systems: Folder with the system's YAML file.
        record: The written record, whose cells count, too.
        system: The system, seeded.
        questions: How many held-out questions a cell asks.
        cells: What has been measured.
        shelf: What the agents have read of each batch's prompts.
    """

    name: str
    seed: int
    work: Path
    systems: Path
    record: Path
    system: System
    questions: int = QUESTIONS
    cells: list[dict[str, Any]] = field(default_factory=list)
    shelf: dict[tuple[str, ...], KeptPrefixes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        training = self.system.training
        self.device = chosen_device("auto")
        self.agents: dict[str, LoadedAgent] = load_weights(
            self.system, self.device, training.precision, training.weights
        )
        assert self.system.task is not None and self.system.task.data is not None
        self.records = load_records(self.system.task.data)[: self.questions]
        self.folder.mkdir(parents=True, exist_ok=True)
        found = [*_recorded(self.record).get("cells", []), *(read_cells(self.file) if self.file.is_file() else [])]
        asked = (self.name, self.seed, self.subject, self.questions)
        self.cells = [
            cell for cell in found if (cell["part"], cell["seed"], cell["subject"], cell["questions"]) == asked
        ]
        self._write()

    @property
    def folder(self) -> Path:
        """Where this part trains."""
        return self.work / f"{NAME}-{self.seed}" / self.name.replace(" ", "-")

    @property
    def file(self) -> Path:
        """Cells measured so far."""
        return self.folder / "cells.jsonl"

    @functools.cached_property
    def subject(self) -> str:
        """Digest of what every cell depends on besides links: the system's prompts and decoding, agents, questions."""
        assert self.system.task is not None and self.system.task.data is not None
        places: Any = {
            **dict.fromkeys(("training", "description", "task", "fallbacks"), True),
            "agents": {"__all__": {"model", "adapter"}},
        }
        declared = self.system.model_dump_json(exclude=places, by_alias=True)
        parts = [declared, *sorted(checksums(self.agents).values()), sha256_of(Path(self.system.task.data))]
        return _digest(" ".join(parts))

    def drop_stale(self, links: Sequence[LinkFile]) -> None:
        """Forgets cells of other links than these, which were shipped or trained before."""
        known = {None, *(_links_digest(each) for each in links)}
        self.cells = [cell for cell in self.cells if cell["links"] in known]
        self._write()

    def _write(self) -> None:
        """Writes the cells, each of which stands for its place in the tables alone."""
        self.cells = list({_place(cell): cell for cell in self.cells}.values())
        write_text_atomic(self.file, "".join(json.dumps(cell) + "\n" for cell in self.cells))

    def measure(
        self,
        row: str,
        links: LinkFile | None,
        hook: HandOffHook | None = None,
        system: System | None = None,
        **options: Any,
    ) -> None:
        """Measures one cell, unless it is there already.

        Args:
            row: Its name in the table.
            links: None in text and single mode.
            hook: Replaces hand-offs.
            system: In place of the part's own, with other prompts or decoding.
            options: Of `evaluate`, in place of the part's seed, too.
        """
        rounds = options.get("rounds", self.system.rounds)
        digest = None if links is None else _links_digest(links)
        if any((cell["row"], cell["rounds"], cell["links"]) == (row, rounds, digest) for cell in self.cells):
            return
        module = None if links is None else Links.from_file(links).to(self.device).requires_grad_(False)
        recursion = SharedPrefixes(system or self.system, self.agents, module, hook)
        recursion.shelf = self.shelf
        say = partial(_say, f"seed {self.seed}: {row}, {rounds} rounds, questions")
        asked = {"seed": self.seed, "batch_size": BATCH, "progress": say, **options}
        self._keep(row, evaluate(recursion, self.records, **asked), digest)

    def vote(self, row: str, samples: Sequence[str]) -> None:
        """Keeps the vote of cells that have been measured as a cell of its own."""
        self._keep(row, vote_of([_read(cell) for cell in self.cells if cell["row"] in samples]), None)

    def _keep(self, row: str, cell: Cell, links: str | None) -> None:
        correct = "".join("01"[right] for right in cell.correct)
        told = {"part": self.name, "subject": self.subject, "links": links}
        self.cells.append({"row": row, "seed": self.seed, **cell.row(), "correct": correct, **told})
        self._write()

    def links(self) -> LinkFile:
        """The links that ship, if they have this seed and these settings; else it trains them."""
        shipped = self.systems / "links" / f"{NAME}.recursivelink.json"
        if shipped.is_file() and (found := load_links(shipped)).provenance["training"] == settings_record(self.system):
            return found
        folder = self.folder.parent / "main"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "training.lock"):  # parts run side by side
            train_system(self.system, folder, resume=True, agents=self.agents, progress=self._phase)
        return load_links(folder / "recursivelink.json")

    def cross_entropy(self, rounds: int, outer: dict[str, Any], **options: Any) -> Path:
        """Trains with cross-entropy alone, unless it is done; returns the folder.

        Args:
            rounds: To train through.
            outer: Settings of the outer loop that differ from the system's.
            options: Of `train_system`.
        """
        training = self.system.training
        changed = training.model_copy(update={"outer": training.outer.model_copy(update=outer)})
        system = self.system.model_copy(update={"rounds": rounds, "training": changed})
        folder = self.folder / "cross-entropy"
        train_system(system, folder, resume=True, agents=self.agents, progress=self._phase, **options)
        return folder

    def _phase(self, phase: str) -> Progress:
        return partial(_say, f"seed {self.seed}: {phase}")


def main_part(part: Part) -> None:
    """The links that ship: by rounds, by steps, and with each edge cut."""
    trained = part.links()
    untrained = new_links(part.system, part.agents).to_file(part.system.name, {})
    started = part.folder / "stages" / "started.json"
    start = load_links(started) if started.is_file() else None  # links that ship keep no stages
    part.drop_stale([trained, untrained, *([start] if start else [])])
    for rounds in (3, 2, 1):
        part.measure(TRAINED, trained, rounds=rounds)
    if start is not None:
        part.measure("before the links learned from rollouts", start, rounds=3)
    part.measure(TRAINED, trained, rounds=4)
    part.measure("control: hand-offs are zeros", trained, control="zeros")
    part.measure("control: another question's hand-offs", trained, control="other_question")
    part.measure("untrained links", untrained)
    for edge in part.system.edges:
        part.measure(f"control: {edge.id} is zeros", trained, partial(_zeros, edge.id))
        part.measure(f"control: {edge.id} of another question", trained, partial(_swapped, edge.id))
    part.measure("deciding agent looped", trained, mode="loop")


def text_part(part: Part) -> None:
    """Text between the same agents, and the deciding agent alone."""
    system = part.system
    prompt = {"single_prompt": ALONE}
    agents = tuple(
        agent.model_copy(update=prompt) if agent.id == system.deciding_agent.id else agent for agent in system.agents
    )
    full = system.model_copy(update={"agents": agents})
    known = part.agents
    part.agents = {key: replace(each, agent=full.agent(key)) for key, each in known.items()}
    part.measure("deciding agent alone with all facts", None, system=full, mode="single", rounds=1)
    part.agents = known
    part.measure("deciding agent alone", None, mode="single", rounds=1)
    for tokens in TEXT_TOKENS:
        written = _with_text_tokens(system, tokens)
        length = "as many tokens as latents" if tokens is None else f"{tokens} tokens"
        for rounds in (3, 2, 1):
            part.measure(f"text, greedy, {length}", None, system=written, mode="text", rounds=rounds)
        part.measure(f"text, sampled, {length}", None, system=written, mode="text", temperature=1.0)
    written = _with_text_tokens(system, None)
    for number, row in enumerate(OTHER_SAMPLES, 1):
        part.measure(row, None, system=written, mode="text", temperature=1.0, seed=part.seed + 1000 * number)
    part.vote(f"{SAMPLED}, vote of {TEXT_VOTES}", (SAMPLED, *OTHER_SAMPLES))


def cross_entropy_part(part: Part) -> None:
    """Cross-entropy through all rounds from the links that ship, by steps."""
    folder = part.cross_entropy(part.system.rounds, {"steps": CURVE[-1]}, start=part.links(), keep_at=CURVE)
    kept = {step: load_links(folder / "stages" / f"outer-{step}.json") for step in CURVE}
    part.drop_stale([*kept.values()])
    for step, links in kept.items():
        part.measure(f"after {step} steps of cross-entropy", links, rounds=3)
    for rounds in (2, 4):
        part.measure(f"after {CURVE[-1]} steps of cross-entropy", kept[CURVE[-1]], rounds=rounds)


def shallow_part(part: Part) -> None:
    """Cross-entropy through two rounds, measured at two, three and four."""
    folder = part.cross_entropy(2, {"steps": CURVE[-1]}, start=part.links())
    links = load_links(folder / "recursivelink.json")
    part.drop_stale([links])
    for rounds in (3, 2, 4):
        part.measure(f"after {CURVE[-1]} steps through 2 rounds", links, rounds=rounds)


def shuffled_part(part: Part) -> None:
    """Cross-entropy with other questions' answers."""
    assert part.system.task is not None and part.system.task.train is not None
    data = ShuffledAnswers(part.system.task.train, part.seed)
    folder = part.cross_entropy(part.system.rounds, {"steps": SHUFFLED_STEPS}, start=part.links(), data=data)
    links = load_links(folder / "recursivelink.json")
    part.drop_stale([links])
    part.measure(f"control: {SHUFFLED_STEPS} steps on shuffled answers", links)


def soft_part(part: Part) -> None:
    """Vectors of the same size in place of hand-offs, the same for every question."""
    hook = soft_prompt_hook(part.cross_entropy(part.system.rounds, SOFT_PROMPTS, soft_prompts=True))
    untrained = new_links(part.system, part.agents).to_file(part.system.name, {})
    part.drop_stale([untrained])
    part.measure("control: a trained soft prompt in place of hand-offs", untrained, hook)


PARTS: dict[str, Callable[[Part], None]] = {
    "main": main_part,
    "text": text_part,
    "soft prompts": soft_part,
    "cross-entropy": cross_entropy_part,
    "two rounds": shallow_part,
    "shuffled": shuffled_part,
}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _links_digest(links: LinkFile) -> str:
    """Digest of the tensors and form of links, whatever their provenance says."""
    return _digest(links.model_dump_json(exclude={"provenance"}))


def _recorded(record: Path) -> dict[str, Any]:
    """What has been written; empty if there is no such file."""
    if not record.is_file():
        return {}
    written: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return written


def _read(cell: dict[str, Any]) -> Cell:
    """A kept cell as it was measured, without the single answers."""
    known = {each.name: cell[each.name] for each in fields(Cell) if each.name in cell}
    return Cell(**{**known, "correct": tuple(mark == "1" for mark in cell["correct"])})


def _say(what: str, done: int, total: int) -> None:
    """Shows progress, a line for each tenth."""
    if done * 10 // total > (done - 1) * 10 // total:
        print(f"{what} {done}/{total}", flush=True)


def _zeros(cut: str, edge: str, _round: int, value: Tensor) -> Tensor:
    return torch.zeros_like(value) if edge == cut else value


def _swapped(cut: str, edge: str, _round: int, value: Tensor) -> Tensor:
    return value.roll(1, dims=0) if edge == cut else value


def _with_text_tokens(system: System, tokens: int | None) -> System:
    return system.model_copy(update={"decoding": system.decoding.model_copy(update={"text_tokens": tokens})})


def seeded(systems: Path, seed: int) -> System:
    """The system with a seed for its training."""
    system = load_system(systems / SYSTEM)
    return system.model_copy(update={"training": system.training.model_copy(update={"seed": seed})})


def run_part(
    name: str, seed: int, work: Path, systems: Path, out: Path, threads: int = 1, questions: int = QUESTIONS
) -> None:
    """Runs one part of one seed, or what neither `work` nor the record in `out` holds; on a CPU in so many threads."""
    if not torch.cuda.is_available():
        torch.set_num_threads(threads)
    PARTS[name](Part(name, seed, work, systems, out / f"{NAME}.json", seeded(systems, seed), questions))


def write_townsfolk(seeds: Sequence[int], work: Path, out: Path) -> bool:
    """Writes what has been measured as `townsfolk.json` and pictures; False if that is nothing."""
    raw: list[dict[str, Any]] = []
    logs: dict[int, list[dict[str, Any]]] = {}
    written = _recorded(out / f"{NAME}.json")
    # What a part has here includes what the record held and still counts.
    here = [cell for path in sorted(work.glob(f"{NAME}-*/*/cells.jsonl")) for cell in read_cells(path)]
    parts = {(cell["seed"], cell["part"]) for cell in here}
    before = [cell for cell in written.get("cells", []) if (cell["seed"], cell["part"]) not in parts]
    for seed in seeds:
        if cells := [cell for cell in (*before, *here) if cell["seed"] == seed]:
            raw.append({"seed": seed, "cells": [cell for cell in cells if cell["row"] not in OTHER_SAMPLES]})
        metrics = work / f"{NAME}-{seed}" / "cross-entropy" / "cross-entropy" / "metrics.jsonl"
        if metrics.is_file() and (steps := [line for line in read_cells(metrics) if line["phase"] == "outer"]):
            logs[seed] = steps
    if not raw:
        return False
    rows = aggregate(raw)
    norms = gradient_norms(logs) or written.get("gradient_norms")  # logs stay on the machine that trained
    record = {
        "experiment": NAME,
        "system": f"systems/{SYSTEM}",
        "command": f"python -m recursivemas.training.evidence --only {NAME}",
        "seeds": [each["seed"] for each in raw],
        "versions": versions(),
        "interval": "95%, bootstrap over seeds and questions, at least as wide as Wilson's over one seed's questions",
        "rows": rows,
        **({"gradient_norms": norms} if norms else {}),
        "cells": [*before, *here],
    }
    write_text_atomic(out / f"{NAME}.json", json.dumps(record, indent=1) + "\n")
    draw_rows(NAME, rows, out / f"{NAME}.png")
    curve = {0 if row["row"] == TRAINED else int(row["row"].split()[1]): row for row in rows if _on_curve(row)}
    if len(curve) > 1 and logs:
        _draw_curve(curve, logs, out / f"{NAME}-steps.png")
    if handoff_keys(logs):
        draw_stability(NAME, logs, out / f"{NAME}-stability.png")
    return True


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    """Where a cell stands in the tables."""
    return tuple(cell[key] for key in ("seed", "part", "row", "rounds"))


def _on_curve(row: dict[str, Any]) -> bool:
    """Whether a row is the links that ship, or what cross-entropy makes of them, at three rounds."""
    return bool(row["rounds"] == 3 and (row["row"] == TRAINED or row["row"].endswith(" steps of cross-entropy")))


def _draw_curve(rows: dict[int, dict[str, Any]], logs: Mapping[int, Sequence[dict[str, Any]]], path: Path) -> None:
    """Draws accuracy at three rounds by steps of cross-entropy, and the loss of every seed."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = sorted(rows)
    y = [rows[step]["accuracy"] for step in steps]
    error = [[rows[step]["accuracy"] - rows[step]["low"] for step in steps]]
    error += [[rows[step]["high"] - rows[step]["accuracy"] for step in steps]]
    left.errorbar(steps, y, yerr=error, marker="o", capsize=3)
    left.set(title=f"{NAME}: accuracy at three rounds", xlabel="steps of cross-entropy", ylim=(0, 1.03))
    for seed, log in logs.items():
        right.plot(
            *zip(*((line["step"], line["loss"]) for line in log), strict=True), linewidth=1, label=f"seed {seed}"
        )
    right.set(title="loss", xlabel="step", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    right.legend(fontsize=8)
    save_figure(figure, path)
