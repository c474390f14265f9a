"""`rmas adapt`: trains a LoRA adapter from role texts, so that an agent can do its part in text.

The adapter is peft's own, in peft's format. Noise on the embeddings of hand-offs, and their fixed length, prepare an
agent for hand-offs that are no embedding of a token (docs/real-agents.md). Shape letters: B batch, T positions, D
hidden size, N tokens that count, H noisy positions.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import peft
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.atomic import scratch_folder
from recursivemas.system.errors import InputError
from recursivemas.system.files import atomic_file, sha256_of
from recursivemas.system.names import Quantization
from recursivemas.system.progress import Say, silent
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import logits
from recursivemas.training.train.optimise import Loss, PhaseProgress, Run, Schedule, refuse_earlier_run
from recursivemas.training.train.recorded_texts import Noise, RecordedTexts
from recursivemas.training.train.role_texts import Lesson
from recursivemas.training.train.rounded import RoundedBase

HELD_OUT_SHARE = 16
"""One text in so many is held out, unless a file of held-out texts is given."""
ROUNDING_STEPS = 10
"""Steps after which the base of an adapter for 4-bit weights is rounded anew."""
LONGEST_TO_SHORTEST = 1.3
"""Texts whose lengths differ by no more than this factor are padded to one length and read together."""
RESULT = "adapter_model.safetensors"


@dataclass(frozen=True)
class AdapterSettings:
    """How an adapter is trained.

    Attributes:
        rank: Of the two matrices that each target gets.
        alpha: The adapter's part is scaled by alpha / rank.
        targets: Names of the linear layers that get one.
        steps: Optimizer steps.
        batch_size: Texts in a step.
        learning_rate: Peak, after warm-up.
        warmup_steps: Steps of linear warm-up; cosine decay follows.
        noise_scale: Every noisy embedding is scaled by exp(noise_scale·N(0, 1)).
        noise: It also gets Gaussian noise whose size, relative to its norm, is drawn from U(0, noise).
        noise_share: Share of the texts whose hand-offs are noisy.
        seed: Of everything random.
        quantization: Of the build that merges the adapter, if the adapter is to learn with the weights that it stores.
    """

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    steps: int = 200
    batch_size: int = 24
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    noise_scale: float = 0.3
    noise: float = 0.5
    noise_share: float = 0.7
    seed: int = 0
    quantization: Quantization | None = None


@dataclass
class _Adapted:
    """A base model with an adapter in it.

    Attributes:
        agent: The frozen agent whose model the adapter was put into.
        model: peft's wrapping of the model.
        settings: How it is trained.
        base: What the adapter's configuration names as its base model.
        parameters: The adapter's, by name.
        rounded: Keeps the base as a build stores it; None if the base stays as it is.
    """

    agent: LoadedAgent
    model: Any
    settings: AdapterSettings
    base: str = ""
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    rounded: RoundedBase | None = None

    def scores(self, lessons: Sequence[Lesson], generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, V) at completions, their ids (N,) and the text (N,) that each belongs to; noise if seeded."""
        agent = self.agent
        ids = [torch.tensor(each.ids, device=agent.device) for each in lessons]
        tokens = pad_sequence(ids, batch_first=True)  # (B, T), padded on the right, where nobody looks back
        embeds = agent.embed(tokens)  # (B, T, D)
        if generator is not None:
            embeds = self._noisy(embeds, _handed(lessons), generator)
        hidden = agent.model.base_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        rows, places = zip(*_counted(lessons), strict=True)
        row, place = torch.tensor(rows, device=agent.device), torch.tensor(places, device=agent.device)
        return logits(agent, hidden[row, place - 1]), tokens[row, place], row

    def noise(self, handed: Tensor, generator: torch.Generator) -> Noise:
        """What is done to the embeddings of hand-offs, (B, T) bool, in a share of the texts."""
        settings, size = self.settings, self.agent.hidden_size
        # Drawn on the CPU, so that every device trains on the same noise.
        rows, places = (handed & (torch.rand(len(handed), 1, generator=generator) < settings.noise_share)).nonzero().T
        scale = (settings.noise_scale * torch.randn(len(rows), 1, generator=generator)).exp()  # (H, 1)
        strength = settings.noise * torch.rand(len(rows), 1, generator=generator)
        gaussian = torch.randn(len(rows), size, generator=generator) * strength / math.sqrt(size)  # (H, D)
        return Noise(rows, places, scale, gaussian)

    def _noisy(self, embeds: Tensor, handed: Tensor, generator: torch.Generator) -> Tensor:
        """Embeddings (B, T, D), those of hand-offs (B, T) scaled and with Gaussian noise in a share of the texts."""
        noise = self.noise(handed, generator)
        parts = (noise.rows, noise.places, noise.scale, noise.gaussian)
        rows, places, scale, gaussian = (each.to(embeds.device) for each in parts)
        plain = embeds[rows, places].float()  # (H, D)
        noisy = plain * scale + gaussian * plain.norm(dim=-1, keepdim=True)
        return embeds.index_put((rows, places), noisy.to(embeds.dtype))


def _handed(lessons: Sequence[Lesson]) -> Tensor:
    """(B, T) bool, whether each position is part of a hand-off."""
    return pad_sequence([torch.tensor(each.handed) for each in lessons], batch_first=True)


def _counted(lessons: Sequence[Lesson]) -> list[tuple[int, int]]:
    """Every (text, position) of a completion."""
    return [(index, len(each.prompt) + at) for index, each in enumerate(lessons) for at in range(len(each.completion))]


def train_adapter(
    agent: LoadedAgent,
    lessons: Sequence[Lesson],
    out: Path,
    settings: AdapterSettings,
    base: str,
    held_out: Sequence[Lesson] | None = None,
    resume: bool = False,
    checkpoint_every: int = 50,
    measure_every: int = 50,
    progress: PhaseProgress = lambda _phase: lambda _step, _steps: None,
    say: Say = silent,
) -> dict[str, float]:
    """Trains an adapter into `out`.

    Args:
        agent: Without an adapter; its model gets one and is of no use otherwise afterwards.
        lessons: Role texts.
        out: Gets `adapter_config.json`, `adapter_model.safetensors` (float16), `metrics.jsonl` and `checkpoint.pt`.
        settings: How to train.
        base: What the adapter's configuration names as its base model.
        held_out: Texts for measuring; by default every sixteenth of `lessons` is kept back.
        resume: Continue from the checkpoint in `out`.
        checkpoint_every: Steps between checkpoints.
        measure_every: Steps between measurements on held-out texts.
        progress: Called with the name of the phase; returns what its steps are reported to.
        say: Called with each measurement.

    Returns:
        Held-out figures at the end, as `held_out_accuracy` gives them.

    Raises:
        InputError: When the model has no such targets, there are too few texts, `out` has a checkpoint and `resume`
            is not set, or the checkpoint is damaged or belongs to another run.
    """
    refuse_earlier_run(out, resume, RESULT)
    if held_out is None:
        held_out = lessons[::HELD_OUT_SHARE]
        lessons = [each for index, each in enumerate(lessons) if index % HELD_OUT_SHARE]
    if not lessons or not held_out:
        raise InputError("too few role texts: one in 16 is held out, so there must be at least 2")
    adapted = _with_adapter(agent, settings, base)
    accelerator = accelerate.Accelerator(cpu=agent.device.type == "cpu")
    module = nn.ParameterList(adapted.parameters.values())
    run = Run(out, module, _identity(agent, lessons, settings), checkpoint_every, accelerator, progress)
    run.start(resume, say)
    figures: dict[str, float] = {}

    recorded = None
    if agent.device.type == "cuda":
        longest = max(len(each.completion) for each in lessons)
        recorded = RecordedTexts(agent, list(adapted.parameters.values()), longest, say=say)

    def round_base() -> None:
        if adapted.rounded is not None:
            adapted.rounded.update(adapted.model)

    def loss(step: int, _micro: int) -> Loss:
        if step % ROUNDING_STEPS == 0:
            round_base()
        batch = _batch(lessons, settings, step)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        if recorded is not None:
            found = recorded(batch, _counted(batch), adapted.noise(_handed(batch), generator))
            if found is not None:
                return found
        parts = [adapted.scores(part, generator)[:2] for part in _of_like_length(batch)]
        scores, wanted = (torch.cat(each) for each in zip(*parts, strict=True))
        right = (scores.argmax(1) == wanted).float().mean()
        return functional.cross_entropy(scores, wanted), {"accuracy": right.item()}

    def measure(step: int, _loss: float) -> None:
        if step % measure_every == 0 or step == settings.steps:
            figures.clear()
            round_base()
            figures.update(held_out_accuracy(adapted, held_out))
            run.log(phase="held out", at=step, **figures)
            say(f"step {step}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()))

    schedule = Schedule(settings.steps, settings.learning_rate, settings.warmup_steps, gradient_clip=1.0)
    run.optimise("adapter", module, schedule, loss, after=measure)
    if accelerator.is_main_process:
        _save(adapted, out)
    if not figures:
        round_base()
    return figures or held_out_accuracy(adapted, held_out)


def _with_adapter(agent: LoadedAgent, settings: AdapterSettings, base: str) -> _Adapted:
    """Puts an untrained adapter into an agent's model; its output is zero."""
    torch.manual_seed(settings.seed)
    rounded = None
    if settings.quantization is not None:
        rounded = RoundedBase(agent.model, settings.targets, settings.quantization)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
            model = peft.get_peft_model(agent.model, config)
    except ValueError as error:
        raise InputError(f"--targets {','.join(settings.targets)}: {str(error).splitlines()[0]}") from None
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return _Adapted(agent, model, settings, base, parameters, rounded)


def _batch(lessons: Sequence[Lesson], settings: AdapterSettings, step: int) -> list[Lesson]:
    """The texts of a step, which depend on seed and step alone."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    drawn = torch.randint(0, len(lessons), (settings.batch_size,), generator=generator)
    return [lessons[index] for index in drawn.tolist()]


def _of_like_length(lessons: Sequence[Lesson]) -> list[list[Lesson]]:
    """The texts in groups of like length, so that little is padded."""
    groups: list[list[Lesson]] = []
    for each in sorted(lessons, key=lambda lesson: len(lesson.ids)):
        if not groups or len(each.ids) > LONGEST_TO_SHORTEST * len(groups[-1][0].ids):
            groups.append([])
        groups[-1].append(each)
    return groups


@torch.no_grad()
def held_out_accuracy(adapted: _Adapted, lessons: Sequence[Lesson], batch_size: int = 32) -> dict[str, float]:
    """The share of texts whose whole completion is what the agent would write greedily, without noise.

    Returns:
        `accuracy` of all texts, and `accuracy/<agent> <kind>` of each agent's hand-offs and answers.
    """
    right: dict[str, list[bool]] = {}
    ordered = sorted(lessons, key=lambda each: len(each.ids))
    for begin in range(0, len(ordered), batch_size):
        batch = ordered[begin : begin + batch_size]
        scores, wanted, owners = adapted.scores(batch, None)
        wrong = set(owners[scores.argmax(1) != wanted].tolist())
        for index, each in enumerate(batch):
            name = f"{each.agent or 'text'} {'hand-off' if each.hand_off else 'answer'}"
            right.setdefault(name, []).append(index not in wrong)
    every = [mark for marks in right.values() for mark in marks]
    groups = {f"accuracy/{name}": sum(marks) / len(marks) for name, marks in sorted(right.items())}
    return {"accuracy": sum(every) / len(every), **groups}


def _identity(agent: LoadedAgent, lessons: Sequence[Lesson], settings: AdapterSettings) -> str:
    """Names a run; a checkpoint of any other is refused."""
    texts = hashlib.sha256(json.dumps([asdict(each) for each in lessons]).encode()).hexdigest()
    weights = sorted(agent.folder.glob("*.safetensors"))
    record = [asdict(settings), texts, [sha256_of(path) for path in weights]]
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _save(adapted: _Adapted, out: Path) -> None:
    """Writes the adapter in peft's format, its tensors in float16."""
    tensors: Mapping[str, Tensor] = peft.get_peft_model_state_dict(adapted.model)
    config = adapted.model.peft_config["default"]
    config.base_model_name_or_path = adapted.base  # peft puts the checkpoint's folder in its place
    config.inference_mode = True
    with scratch_folder(out, ".adapter") as scratch:
        config.save_pretrained(scratch)
        (scratch / "adapter_config.json").replace(out / "adapter_config.json")
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    with atomic_file(out / RESULT) as temporary:
        temporary.write_bytes(save(halves, metadata={"format": "pt"}))
