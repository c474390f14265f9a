"""`rmas train`: inner loop, initialisation, alignment and outer loop, with one log and one checkpoint.

Source: arXiv 2604.25917, training; docs/training.md lists the stages. Every graph trains with the same code.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from torch import Tensor, nn

from recursivemas.system.cache import seal
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.names import Device, Dtype
from recursivemas.system.progress import Say, silent
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent, checksums
from recursivemas.training.links import Links
from recursivemas.training.loading import chosen_device, load_weights
from recursivemas.training.processes import PATIENCE, check_shares
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks.data import TrainingData
from recursivemas.training.train.checkpoint import load_checkpoint, save_checkpoint
from recursivemas.training.train.columns import characters
from recursivemas.training.train.graphs import RecordedRounds, Scored
from recursivemas.training.train.initialise import (
    matched_thoughts,
    share_embeddings,
    start_inner_from_ridge,
    start_outer,
)
from recursivemas.training.train.inner_loop import InnerObjective, embedding_loss, held_out_figures, start_inner
from recursivemas.training.train.optimise import Loss, PhaseProgress, Run, Schedule, refuse_earlier_run
from recursivemas.training.train.outer_loop import GradientWatch, first_answerable, outer_loss
from recursivemas.training.train.pairs import Pairs, Variety, collect_latent_pairs, collect_pairs, join
from recursivemas.training.train.prefix import PrefixRecursion
from recursivemas.training.train.role_texts import Lesson, lessons_of_system, padding_of
from recursivemas.training.train.soft_prompts import SoftPromptRecursion, SoftPrompts
from recursivemas.training.train.teacher_forcing import TeacherForcedRecursion
from recursivemas.training.train.text_pairs import collect_text_pairs
from recursivemas.training.train.watch import StartWatch
from recursivemas.training.window import check_window

# What a batch of training questions is for; each use has a stream of its own.
PAIR_STREAM, OUTER_STREAM, LATENT_STREAM, HELD_OUT_STREAM = 0, 1, 2, 3
WARMUP_STEPS = 20
HELD_OUT_SHARE = 16
"""One question is held out for so many training questions."""
MOST_BOILERPLATE = 0.5
RESULT = "recursivelink.json"


@dataclass
class Trainer:
    """Everything that a run needs; `train` goes through its phases in order.

    Attributes:
        system: The declaration, training settings included.
        agents: Frozen agents by id.
        links: They are trained.
        data: Training questions.
        run: Folder, log, checkpoint and processes.
        say: Called with what a person should know about the run.
        keep_at: Steps of cross-entropy after which the links are kept in `stages/outer-<step>.json`.
        soft_prompts: Trained in place of links, as a control.
    """

    system: System
    agents: dict[str, LoadedAgent]
    links: Links
    data: TrainingData
    run: Run
    say: Say = silent
    keep_at: Sequence[int] = ()
    soft_prompts: SoftPrompts | None = None

    def __post_init__(self) -> None:
        self.accelerator = self.run.accelerator
        self._pairs: dict[str, Pairs] | None = None
        self._held_out: dict[str, Pairs] | None = None
        self._varieties: dict[str, Variety] = {}
        self._joined = 0
        self._drawn: tuple[int, list[QuestionRecord]] = (-1, [])

    @property
    def pairs(self) -> dict[str, Pairs]:
        """Pairs of every agent's text, gathered once; refinements add to them."""
        if self._pairs is None and self._lessons is not None:
            trained = {key: own[: self._trained_texts(own)] for key, own in self._lessons.items()}
            self._pairs = self._read_pairs(trained, self._varieties)
        elif self._pairs is None:
            self._pairs = self._write_pairs(self._pair_questions(), self._varieties)
        return self._pairs

    @property
    def held_out(self) -> dict[str, Pairs]:
        """Pairs of every agent's text about questions that no training pair comes from."""
        if self._held_out is None and self._lessons is not None:
            self._held_out = self._read_pairs({key: self._held_out_texts(own) for key, own in self._lessons.items()})
        elif self._held_out is None:
            known = {record.question for record in self._pair_questions()}
            count = max(1, self.system.training.inner.questions // HELD_OUT_SHARE)
            drawn = self.data.batch(HELD_OUT_STREAM, 0, count)
            self._held_out = self._write_pairs([record for record in drawn if record.question not in known])
        return self._held_out

    @functools.cached_property
    def _lessons(self) -> dict[str, list[Lesson]] | None:
        """Role texts by agent, if pairs come from them; the last ones are held out."""
        return lessons_of_system(self.system, self.agents)

    def _trained_texts(self, lessons: Sequence[Lesson]) -> int:
        return min(self.system.training.inner.questions, len(lessons) - len(lessons) // (HELD_OUT_SHARE + 1))

    def _held_out_texts(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """The texts behind those that are trained on, one for sixteen of them."""
        count = self._trained_texts(lessons)
        return list(lessons[count : count + max(1, count // HELD_OUT_SHARE)])

    def _read_pairs(
        self, lessons: dict[str, list[Lesson]], varieties: dict[str, Variety] | None = None
    ) -> dict[str, Pairs]:
        settings = self.system.training
        recursion = Recursion(self.system, self.agents, None)
        finish, progress = settings.inner.finish, self.run.progress("pairs")
        return collect_text_pairs(recursion, lessons, settings.seed, finish, varieties, progress)

    def _pair_questions(self) -> list[QuestionRecord]:
        return self.data.batch(PAIR_STREAM, 0, self.system.training.inner.questions)

    def _write_pairs(
        self, records: list[QuestionRecord], varieties: dict[str, Variety] | None = None
    ) -> dict[str, Pairs]:
        inner, seed = self.system.training.inner, self.system.training.seed
        recursion, progress = Recursion(self.system, self.agents, None), self.run.progress("pairs")
        return collect_pairs(
            recursion, records, inner.temperature, seed, inner.candidates, inner.text_tokens, varieties, progress
        )

    def _report_pairs(self) -> None:
        """Logs how much the agents' texts differ, and says so if they are mostly the same."""
        pairs = self.pairs
        for key, variety in self._varieties.items():
            self.run.log(phase="pairs", agent=key, held_out_pairs=len(self.held_out[key].targets), **variety._asdict())
            if variety.boilerplate > MOST_BOILERPLATE and len(pairs[key].targets):
                self.say(
                    f"agent {key}: {variety.boilerplate:.0%} of its training pairs are boilerplate, the same token at "
                    f"the same place whatever the question ({variety.distinct_tokens} distinct tokens in "
                    f"{variety.pairs} pairs); longer texts help (training.inner.text_tokens)"
                )
        if not any(len(each.targets) for each in self.held_out.values()):
            self.say("every question is trained on, so nothing is measured on held-out pairs")

    def train(self) -> None:
        """All phases that are not done yet; keeps the links before each kind of phase for comparison."""
        inner, outer = self.system.training.inner, self.system.training.outer
        if not self.run.done:
            self.run.phase("report pairs", self._report_pairs)
        for agent in self.agents:
            self.run.phase(f"start inner {agent}", functools.partial(self._start_inner, agent))
            self._inner(f"inner {agent}", agent, inner.steps)
        self._keep("random")
        for edge in self.links.outer:
            self.run.phase(f"start outer {edge}", functools.partial(self._start_outer, edge))
        self._keep("started")
        for edge in self.links.outer:
            self._align(f"align {edge}", edge, outer.alignment_steps)
        for number in range(1, inner.refinements + 1):
            self._refine(number, inner.refinement_steps)
        self._keep("aligned")
        self.train_outer()

    def _refine(self, number: int, steps: int) -> None:
        """Continues inner links and alignment with pairs of latent rollouts added."""
        self.run.phase(f"collect {number}", functools.partial(self._collect, number))
        aligned = self.links.outer if self.system.training.outer.alignment_steps else ()
        phases: list[tuple[str, str, Callable[[str, str, int], None]]] = [
            *((f"inner {agent}, refinement {number}", agent, self._inner) for agent in self.agents),
            *((f"align {edge}, refinement {number}", edge, self._align) for edge in aligned),
        ]
        if all(name in self.run.done for name, _, _ in phases) and self.run.done[-1] != phases[-1][0]:
            return
        for earlier in range(self._joined + 1, number + 1):
            # Not right onto the device: one of several processes calls it `cpu:0`, which torch does not load.
            found = load_checkpoint(self._pairs_file(earlier))
            device = self.accelerator.device
            self._pairs = {key: join(pairs, Pairs(**found[key]).to(device)) for key, pairs in self.pairs.items()}
        self._joined = number
        for name, key, act in phases:
            act(name, key, steps)

    def _pairs_file(self, number: int) -> Path:
        return self.run.folder / f"pairs-{number}.pt"

    def _collect(self, number: int) -> None:
        """Writes pairs of latent rollouts to disk, because the links that they depend on are about to change."""
        settings = self.system.training
        count = settings.inner.refinement_questions or settings.inner.questions
        records = self.data.batch(LATENT_STREAM, number, count)
        recursion = PrefixRecursion(self.system, self.agents, self.links)
        progress = self.run.progress(f"collect {number}")
        fillers = None
        if self._lessons is not None:  # their hand-offs have a fixed length and no end
            pad = settings.inner.pad
            fillers = {key: padding_of(self.system, agent, pad).token for key, agent in self.agents.items()}
        pairs = collect_latent_pairs(
            recursion, records, settings.seed + number, settings.inner.candidates, progress, fillers
        )
        if self.run.main:
            save_checkpoint(self._pairs_file(number), {key: vars(each) for key, each in pairs.items()})
        self.accelerator.wait_for_everyone()

    def _stage_file(self, name: str) -> Path:
        return self.run.folder / "stages" / f"{name}.json"

    def _keep(self, name: str) -> None:
        """Writes the present links to `stages/<name>.json`, and their digest, which `load_links` checks."""

        def write() -> None:
            if self.run.main:
                self._write_stage(name)
            self.accelerator.wait_for_everyone()

        self.run.phase(f"keep {name}", write)

    def _write_stage(self, name: str) -> None:
        provenance = {"stage": name, "seed": self.system.training.seed}
        self.links.to_file(self.system.name, provenance).save(self._stage_file(name))
        seal(self._stage_file(name))

    def _start_inner(self, agent: str) -> None:
        link = self.links.inner[agent]
        start_inner(link, self.agents[agent])
        if self.system.training.inner.start == "ridge":
            cosine = start_inner_from_ridge(link, self.agents[agent], self.pairs[agent])
            held_out = held_out_figures(link, self.agents[agent], self.held_out[agent])
            self.run.log(phase=f"start inner {agent}", method="ridge", cosine=cosine, **held_out)

    def _inner(self, name: str, agent: str, steps: int) -> None:
        settings, link = self.system.training.inner, self.links.inner[agent]
        if name in self.run.done:
            return
        pairs = self.pairs[agent]
        objective = InnerObjective(self.agents[agent], pairs, settings)

        def loss(step: int, _micro: int) -> Loss:
            chosen = self._chosen(len(pairs.targets), settings.batch_size, step)  # (batch,) indices
            return objective(link(pairs.hidden[chosen]), chosen)

        self.run.optimise(name, link, Schedule(steps, settings.learning_rate, WARMUP_STEPS), loss)
        self.run.log(phase=name, **held_out_figures(link, self.agents[agent], self.held_out[agent]))

    def _matched(self, edge: str, pairs: dict[str, Pairs] | None = None) -> tuple[LoadedAgent, tuple[Tensor, Tensor]]:
        """The receiver of an edge, and `matched_thoughts` of its sender, of the training pairs by default."""
        source, target = next((e.source, e.target) for e in self.system.edges if e.id == edge)
        receiver = self.agents[target]
        return receiver, matched_thoughts((pairs or self.pairs)[source], self.links.inner[source], receiver)

    def _start_outer(self, edge: str) -> None:
        receiver, (thoughts, wanted) = self._matched(edge)
        method = self._start_method(edge)
        cosine = start_outer(self.links.outer[edge], receiver, thoughts, wanted, method)
        self.run.log(phase=f"start outer {edge}", method=method, matched=len(thoughts), cosine=cosine)

    def _start_method(self, edge: str) -> str:
        """How an outer link starts."""
        settings = self.system.training.outer
        source, target = next((e.source, e.target) for e in self.system.edges if e.id == edge)
        if settings.initialisation == "ridge" and settings.start == "identity":
            shared = share_embeddings(self.agents[source], self.agents[target])
            return "identity" if shared else "ridge"
        return settings.initialisation

    def _align(self, name: str, edge: str, steps: int) -> None:
        """R_out(R_in(h)) towards the receiver's embedding of the same text."""
        settings, link = self.system.training, self.links.outer[edge]
        # The check follows the phase at once, so a checkpoint that went on without it is one of version 0.1.0.
        if name in self.run.done and self.run.done[-1] != name:
            return
        _, (thoughts, wanted) = self._matched(edge)

        def loss(step: int, _micro: int) -> Loss:
            chosen = self._chosen(len(wanted), settings.inner.batch_size, step)
            return embedding_loss(link(thoughts[chosen]), wanted[chosen], settings.inner.norm_weight)

        self.run.optimise(name, link, Schedule(steps, settings.outer.alignment_learning_rate, WARMUP_STEPS), loss)
        self.run.phase(f"check {name}", functools.partial(self._check_aligned, name, edge))

    @torch.no_grad()
    def _check_aligned(self, name: str, edge: str) -> None:
        """Puts an outer link back to its start if that fits better, on held-out pairs if there are any."""
        link = self.links.outer[edge]
        started = Links.from_file(load_links(self._stage_file("started"))).outer[edge].to(self.accelerator.device)
        _, (thoughts, wanted) = self._matched(edge, self.held_out)
        figure = "held_out_cosine"
        if len(thoughts) == 0:
            _, (thoughts, wanted) = self._matched(edge)
            figure = "cosine"
        weight = self.system.training.inner.norm_weight
        (now, figures), (before, _) = (embedding_loss(each(thoughts), wanted, weight) for each in (link, started))
        kept = bool(now <= before)
        self.run.log(phase=name, **{figure: figures["cosine"]}, better_than_start=kept)
        if not kept:
            link.load_state_dict(started.state_dict())

    def train_outer(self) -> None:
        """The outer loop alone."""
        settings = self.system.training.outer
        watch, start = GradientWatch(settings.handoff_clip), StartWatch(settings.warmup_steps, self.say)
        recursion = self._outer_recursion(watch)
        if self.run.steps_done("outer") == 0 and "outer" not in self.run.done:
            self._keep_step(0)

        module = self._outer_module()
        recorded = self._recorded(recursion, module)

        def loss(step: int, micro: int) -> Loss:
            rounds = self._rounds(step)
            records, answerable = self._answerable(self._outer_records(step, micro), rounds)
            found = recorded(records, rounds, answerable) if recorded else None
            return found or outer_loss(
                recursion,
                records,
                [record.answer for record in records],
                rounds,
                self.system.default_latent_steps,
                every_round=settings.supervision == "every",
                checkpointing=settings.gradient_checkpointing,
                early_weight=settings.early_weight,
                answerable=answerable,
            )

        def after(step: int, loss: float) -> None:
            start(step, loss)
            self._keep_step(step)

        schedule = Schedule(
            settings.steps,
            settings.learning_rate,
            settings.warmup_steps,
            settings.gradient_clip,
            settings.gradient_accumulation // self.accelerator.num_processes,
        )
        self.run.optimise("outer", module, schedule, loss, watch.figures, after)

    def _recorded(self, recursion: Recursion, module: nn.Module) -> RecordedRounds | None:
        """The outer loop as CUDA graphs, where they work."""
        settings = self.system.training.outer
        wanted = settings.cuda_graphs and not settings.gradient_checkpointing
        if not wanted or recursion.deciding.device.type != "cuda" or type(recursion) is not PrefixRecursion:
            return None
        scored = Scored(settings.supervision == "every", settings.early_weight)
        steps = self.system.default_latent_steps
        return RecordedRounds(recursion, list(module.parameters()), scored, steps, say=self.say)

    def _outer_recursion(self, watch: GradientWatch) -> Recursion:
        """What runs the rounds in training."""
        if self.soft_prompts is not None:
            soft = SoftPromptRecursion(self.system, self.agents, self.links)
            soft.soft = self.soft_prompts
            return soft
        forced = self.system.training.outer.forward == "teacher_forced"
        kind = TeacherForcedRecursion if forced else PrefixRecursion
        return kind(self.system, self.agents, self.links, watch)

    def _outer_module(self) -> nn.Module:
        """What the outer loop trains."""
        if self.soft_prompts is not None:
            return self.soft_prompts
        settings = self.system.training.outer
        wanted = settings.edges or tuple(self.links.outer)
        chosen = {edge: link for edge, link in self.links.outer.items() if edge in wanted}
        senders = {edge.source for edge in self.system.edges if edge.id in chosen}
        inner = [link for agent, link in self.links.inner.items() if settings.edges is None or agent in senders]
        return nn.ModuleList([*chosen.values(), *(inner if settings.train_inner else ())])

    def _outer_records(self, step: int, micro: int) -> list[QuestionRecord]:
        """Questions of one micro-batch; all those of a step are sorted by length, so that like ones come together."""
        settings, parts = self.system.training.outer, self.system.training.outer.gradient_accumulation
        if self._drawn[0] != step:
            numbers = range(step * parts, (step + 1) * parts)
            drawn = [record for each in numbers for record in self.data.batch(OUTER_STREAM, each, settings.batch_size)]
            self._drawn = (step, sorted(drawn, key=characters) if parts > 1 else drawn)
        begin = (micro * self.accelerator.num_processes + self.accelerator.process_index) * settings.batch_size
        return self._drawn[1][begin : begin + settings.batch_size]

    def _answerable(self, records: list[QuestionRecord], rounds: int) -> tuple[list[QuestionRecord], list[int]]:
        """The questions that so many rounds can answer, unless that is none, and the first round that can, from 0."""
        first = first_answerable(records, self.system.training.outer.answerable_field)
        kept = [index for index, ready in enumerate(first) if ready < rounds] or range(len(records))
        return [records[index] for index in kept], [first[index] for index in kept]

    def _keep_step(self, step: int) -> None:
        """Writes the links after a step of cross-entropy, if they are to be kept; 0 is before the first."""
        if step in self.keep_at and self.run.main:
            self._write_stage(f"outer-{step}")

    def _rounds(self, step: int) -> int:
        """Rounds of a step: all of them, those of its part, or with the curriculum more and more in the first half."""
        settings, rounds = self.system.training.outer, self.system.rounds
        if settings.rounds:
            return settings.rounds[step * len(settings.rounds) // settings.steps]
        if not settings.curriculum:
            return rounds
        return min(rounds, 1 + int(rounds * step / max(1, settings.steps / 2)))

    def _chosen(self, count: int, batch: int, step: int) -> Tensor:
        """At most `batch` indices of `count` pairs, drawn from seed and step: the same in all processes."""
        seed = (self.system.training.seed * 1_000_003 + step) * 1009
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, count, (min(batch, count),), generator=generator).to(self.accelerator.device)


def new_links(system: System, agents: dict[str, LoadedAgent]) -> Links:
    """Randomly initialised links of a system, from its training seed."""
    settings = system.training
    torch.manual_seed(settings.seed)
    sizes = {key: agent.hidden_size for key, agent in agents.items()}
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    return Links.create(sizes, edges, settings.variant, settings.inner_width, settings.outer_width)


def run_identity(
    system: System, data: TrainingData, agents: dict[str, str], start: LinkFile | None, texts: str | None = None
) -> str:
    """Names a run by all that its links depend on; it refuses a checkpoint of any other run.

    Files count by their content, not by their path.
    """
    path = Path(data.source)
    source = sha256_of(path) if path.is_file() else data.source
    places: Any = {
        "agents": {"__all__": {"model", "adapter", "tokenizer"}},
        "task": {"data", "train"},
        "training": {"inner": {"texts"}},
        "fallbacks": True,
    }
    record = {
        "system": system.model_dump(mode="json", by_alias=True, exclude=places),
        "data": {"kind": type(data).__name__, "source": source, "seed": data.seed},
        "agents": agents,
        "start": None if start is None else hashlib.sha256(start.model_dump_json().encode()).hexdigest(),
        **({} if texts is None else {"texts": sha256_of(Path(texts))}),
    }
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def train_system(
    system: System,
    out: Path,
    resume: bool = False,
    checkpoint_every: int = 50,
    progress: PhaseProgress = lambda _phase: lambda _step, _steps: None,
    agents: dict[str, LoadedAgent] | None = None,
    data: TrainingData | None = None,
    start: LinkFile | None = None,
    say: Say = silent,
    dtype: Dtype = "float32",
    device: Device = "auto",
    keep_at: Sequence[int] = (),
    soft_prompts: bool = False,
) -> Links:
    """Trains a system's links into `out`.

    Args:
        system: With its training settings.
        out: Gets `recursivelink.json`, `metrics.jsonl`, `checkpoint.pt`, and in `stages/` the links with random outer
            links, after their initialisation and after alignment.
        resume: Continue from the checkpoint in `out`.
        checkpoint_every: Steps between checkpoints.
        progress: Called with the name of each phase; returns what its steps are reported to.
        agents: Loaded agents; by default they are loaded from the system's checkpoints.
        data: Training questions; by default the task's own.
        start: Links to begin the outer loop with; inner loop, initialisation and alignment are then left out.
        say: Called with what a person should know about the run.
        dtype: Of the numbers in `recursivelink.json`; links compute in float32 whatever it is.
        device: Where to compute.
        keep_at: Steps of cross-entropy after which the links are kept in `stages/outer-<step>.json`; 0 is before it.
        soft_prompts: Train vectors in place of hand-offs, the same for every question, instead of links: a control.
            They are written to `soft_prompts.safetensors` (`soft_prompts.soft_prompt_hook` reads them).

    Raises:
        InputError: When the system names no training data or role texts that are not there, `out` has a checkpoint and
            `resume` is not set, or the checkpoint is damaged or belongs to another run.
    """
    settings = system.training
    handlers = [accelerate.InitProcessGroupKwargs(timeout=PATIENCE)]
    accelerator = accelerate.Accelerator(cpu=chosen_device(device).type == "cpu", kwargs_handlers=handlers)
    check_shares(settings.outer.gradient_accumulation, accelerator.num_processes)
    if accelerator.is_main_process:
        refuse_earlier_run(out, resume, RESULT)
    if data is None:
        if system.task is None or system.task.train is None:
            raise InputError(f"system {system.name!r} names no training data; set task.train or pass --data")
        data = TrainingData(system.task.train, settings.seed)
    outer_alone = start is not None or soft_prompts
    texts = None if outer_alone else settings.inner.texts
    if texts is not None and not Path(texts).is_file():  # before agents are loaded
        raise InputError(
            f"{texts}: training.inner.texts names this file of role texts, which is missing; write it "
            "(docs/real-agents.md), or make the shipped system's: python -m recursivemas.training.make_data --out runs "
            "--role-texts 12000"
        )
    if agents is None:
        agents = load_weights(system, accelerator.device, settings.precision, settings.weights)
    before = checksums(agents)
    links = (new_links(system, agents) if start is None else Links.from_file(start)).to(accelerator.device)
    soft = SoftPrompts(system, agents[system.deciding_agent.id]).to(accelerator.device) if soft_prompts else None
    identity = run_identity(system, data, before, start, texts) + (" soft prompts" if soft else "")
    run = Run(out, soft or links, identity, checkpoint_every, accelerator, progress)
    run.start(resume, say)
    check_window(system, agents, data.known, system.rounds, system.default_latent_steps)
    trainer = Trainer(system, agents, links, data, run, say, keep_at, soft)
    trainer.train_outer() if outer_alone else trainer.train()
    assert checksums(agents) == before, "an agent changed while its links were trained"
    if accelerator.is_main_process and soft is not None:
        soft.save(out)
    elif accelerator.is_main_process:
        provenance = _provenance(system, data, before, accelerator.device)
        links.to_file(system.name, provenance).rounded(dtype).save(out / RESULT)
    return links


def settings_record(system: System) -> dict[str, Any]:
    """The training settings as a link file names them, with no path of this machine."""
    record: dict[str, Any] = system.training.model_dump(mode="json")
    if system.training.inner.texts is not None:
        record["inner"]["texts"] = Path(system.training.inner.texts).name
    return record


def _provenance(
    system: System, data: TrainingData, agents_sha256: dict[str, str], device: torch.device
) -> dict[str, Any]:
    return {
        "seed": system.training.seed,
        "training": settings_record(system),
        "rounds": system.rounds,
        "latent_steps": system.latent_steps,
        "data": data.source if data.source.startswith("generator:") else Path(data.source).name,
        "agents_sha256": agents_sha256,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "device": str(device),
    }
