"""One optimisation phase: schedule, clipping, accumulation, log, and checkpoints that survive a kill.

A phase depends only on its parameters, its optimizer and the step number: data are drawn from (seed, step), so a run
that continues from a checkpoint does what the uninterrupted run would have done.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.progress import Progress, Say
from recursivemas.training.train.checkpoint import load_checkpoint, save_checkpoint

# Called with a phase's name; returns what its steps are reported to
PhaseProgress = Callable[[str], Progress]
# A loss, and figures for the log
Loss = tuple[Tensor, Mapping[str, float]]
CHECKPOINT, LOG = "checkpoint.pt", "metrics.jsonl"


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rate of a phase: linear warm-up, then cosine to zero.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Peak.
        warmup_steps: Steps of linear warm-up among them.
        gradient_clip: Largest norm of the whole gradient; None does not clip.
        accumulation: Micro-batches a step.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    gradient_clip: float | None = None
    accumulation: int = 1

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def refuse_earlier_run(folder: Path, resume: bool, result: str) -> None:
    """Refuses to train into a folder with an earlier run, whose checkpoint, log and result would be lost.

    Args:
        folder: Where to train.
        resume: Whether to continue a run.
        result: Name of the file that training ends with.

    Raises:
        InputError: There is an earlier run, and `resume` is not set.
    """
    found = [name for name in (CHECKPOINT, result) if (folder / name).exists()]
    if found and not resume:
        instead = "continue it with --resume, or " if CHECKPOINT in found else ""
        raise InputError(f"{folder}: has the {found[0]} of an earlier run; {instead}choose another --out")


@dataclass
class Run:
    """A training run's folder: checkpoint and log.

    Attributes:
        folder: Holds `checkpoint.pt` and `metrics.jsonl`.
        module: Everything that is trained.
        identity: Names the run; a checkpoint of another run is refused.
        checkpoint_every: Steps between checkpoints; there is one at the end of each phase, too.
        accelerator: Device and processes; the main process alone writes.
        progress: Called with the name of each phase; returns what its steps are reported to.
        done: Complete phases.
    """

    folder: Path
    module: nn.Module
    identity: str
    checkpoint_every: int
    accelerator: Any
    progress: PhaseProgress
    done: list[str] = field(default_factory=list)
    _resume: dict[str, Any] | None = None
    _line: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    def start(self, resume: bool, say: Say) -> None:
        """Begins in a folder that has no earlier run, or continues from the last checkpoint if `resume` is set.

        Args:
            resume: Whether to continue. Without a checkpoint, the run begins anew and says so.
            say: Called with what a person should know.

        Raises:
            InputError: When the checkpoint is damaged, or belongs to another system, data or settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / CHECKPOINT
        if resume and path.is_file():
            state = load_checkpoint(path)
            if state["identity"] != self.identity:
                raise InputError(
                    f"{path}: checkpoint of another run (other settings, agents or data); train into another --out"
                )
            self.module.load_state_dict(state["module"])
            self.done, self._resume, self._line = list(state["done"]), state["phase"], state["line"]
        elif resume and self.main:
            say(f"--resume: {self.folder} has no checkpoint, so training starts from the beginning")
        if self.main:
            log = self.folder / LOG
            kept = log.read_bytes().split(b"\n")[: self._line] if log.is_file() and self._line else []
            text = b"".join(line + b"\n" for line in kept).decode(errors="replace")
            write_text_atomic(log, text)

    def steps_done(self, name: str) -> int:
        """Steps of a phase that a checkpoint has; 0 if it begins anew."""
        return int(self._resume["step"]) if self._resume is not None and self._resume["name"] == name else 0

    def log(self, **figures: Any) -> None:
        """Appends one line to the log."""
        self._line += 1
        if self.main:
            try:
                with (self.folder / LOG).open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(figures) + "\n")
            except OSError as error:
                raise InputError(
                    f"{self.folder / LOG}: cannot be written: {error.strerror}; make room, then go on with --resume"
                ) from None

    def save(self, phase: dict[str, Any] | None) -> None:
        """Writes a checkpoint."""
        if self.main:
            state = {"identity": self.identity, "module": self.module.state_dict(), "done": self.done}
            save_checkpoint(self.folder / CHECKPOINT, {**state, "phase": phase, "line": self._line})

    def phase(self, name: str, action: Callable[[], None]) -> None:
        """Runs a phase without steps, unless it is already done."""
        if name not in self.done:
            action()
            self.done.append(name)
            self.save(None)

    def optimise(
        self,
        name: str,
        module: nn.Module,
        schedule: Schedule,
        loss_function: Callable[[int, int], Loss],
        gradient_figures: Callable[[], Mapping[str, float]] = dict,
        after: Callable[[int, float], None] = lambda _step, _loss: None,
    ) -> None:
        """Minimises a loss over a module's parameters, unless the phase is already done.

        Args:
            name: Of the phase, in log and checkpoint.
            module: It is trained; everything else stays.
            schedule: Steps and rates.
            loss_function: Computes the loss of (step, micro-batch).
            gradient_figures: More figures for the log, which depend on gradients.
            after: Called after each step with its number, counted from 1, and its loss.
        """
        if name in self.done:
            return
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        first = self.steps_done(name)
        if first and self._resume is not None:
            optimizer.load_state_dict(self._resume["optimizer"])
        self._resume, report = None, self.progress(name)
        for step in range(first, schedule.steps):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            optimizer.zero_grad(set_to_none=True)
            loss, figures = _accumulate(parameters, schedule.accumulation, functools.partial(loss_function, step))
            loss = self._average(parameters, loss)
            limit = schedule.gradient_clip if schedule.gradient_clip is not None else math.inf
            norm = float(nn.utils.clip_grad_norm_(parameters, limit))
            if not math.isfinite(norm) or not math.isfinite(loss):
                raise InputError(
                    f"phase {name}, step {step}: loss {loss}, gradient norm {norm}; lower the learning rate "
                    "or the hand-off clip, or train in float32"
                )
            optimizer.step()
            elapsed_ms = round((time.perf_counter() - began) * 1e3, 2)
            entry = {"phase": name, "step": step + 1, "loss": loss, "gradient_norm": norm, "lr": schedule.rate(step)}
            self.log(**entry, **figures, **gradient_figures(), step_ms=elapsed_ms)
            after(step + 1, loss)
            if (step + 1) % self.checkpoint_every == 0 and step + 1 < schedule.steps:
                self.save({"name": name, "step": step + 1, "optimizer": optimizer.state_dict()})
            report(step + 1, schedule.steps)
        self.done.append(name)
        self.save(None)

    def _average(self, parameters: list[nn.Parameter], loss: float) -> float:
        """Averages gradients over processes, and the loss, which it returns."""
        if self.accelerator.num_processes == 1:
            return loss
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")
        losses = torch.tensor([loss], device=self.accelerator.device)
        return float(self.accelerator.reduce(losses, reduction="mean"))


def _accumulate(
    parameters: list[nn.Parameter], batches: int, loss_function: Callable[[int], Loss]
) -> tuple[float, Mapping[str, float]]:
    """Adds the gradients of several micro-batches; returns their mean loss and the last one's figures."""
    total, figures = 0.0, dict[str, float]()
    for micro in range(batches):
        loss, found = loss_function(micro)
        torch.autograd.backward(loss)
        total, figures = total + loss.item() / batches, dict(found)
    # Gradients are divided here and not before, so that clipping within the graph sees what it would in one batch.
    for parameter in parameters if batches > 1 else ():
        if parameter.grad is not None:
            parameter.grad /= batches
    return total, figures
