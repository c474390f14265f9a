"""How the authors' runner asks each data set: latent steps, new tokens, sampling, batch and samples of a question.

Source: the runner of May 2026 and, for the AIME sets that it does not have, the paper's experimental setup (arXiv
2604.25917). Settings by style where the runner names them; its defaults elsewhere.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from recursivemas.system.errors import InputError
from recursivemas.system.names import Complete

Style: TypeAlias = Literal["sequential-light", "sequential-scaled", "mixture", "distillation", "deliberation"]
SetName: TypeAlias = Literal["math500", "aime25", "aime26", "gpqa", "medqa", "mbppplus", "livecodebench"]
STYLES: tuple[Style, ...] = get_args(Style)
SET_NAMES: tuple[SetName, ...] = get_args(SetName)

_CODE = ("mbppplus", "livecodebench")
_CHOICE = ("gpqa", "medqa")
_AIME = ("aime25", "aime26")
# (latent steps, questions at a time), where the runner recommends them.
_RECOMMENDED: dict[tuple[str, str], tuple[int, int]] = {
    ("sequential-light", "math500"): (48, 32),
    ("sequential-light", "medqa"): (32, 16),
    ("sequential-light", "gpqa"): (32, 16),
    ("sequential-light", "mbppplus"): (16, 16),
    ("sequential-scaled", "math500"): (32, 16),
    ("sequential-scaled", "medqa"): (48, 16),
    ("sequential-scaled", "gpqa"): (48, 16),
    ("sequential-scaled", "mbppplus"): (16, 16),
}


@dataclass(frozen=True)
class ReleasedSettings:
    """Settings of one data set.

    Attributes:
        latent_steps: M.
        max_new_tokens: The longest answer.
        temperature: Of sampling.
        retry_tokens: How far an incomplete answer is continued.
        needs: What a complete answer has.
        batch_size: Questions at a time.
        rollouts: k of pass@k: samples of each question.
        rounds: R.
        top_p: Of sampling; `top_k` is the checkpoint's.
        repetition_penalty: 1 is none.
        seed: Of sampling and of the order of choices.
        code_wall_s: Seconds of a program that is tested.
    """

    latent_steps: int
    max_new_tokens: int
    temperature: float
    retry_tokens: int
    needs: Complete
    batch_size: int
    rollouts: int
    rounds: int = 3
    top_p: float = 0.95
    repetition_penalty: float = 1.0
    seed: int = 42
    code_wall_s: int = 10


def released_settings(name: SetName, style: Style) -> ReleasedSettings:
    """The settings of a data set for a style of system."""
    latent_steps, batch_size = _RECOMMENDED.get((style, name), (32, 8))
    longest = {"math500": 1000 if style == "sequential-light" else 2000, **dict.fromkeys(_AIME, 16_000)}
    return ReleasedSettings(
        latent_steps=latent_steps,
        max_new_tokens=longest.get(name, 4000),
        temperature=0.2 if name in _CODE else 0.6,
        retry_tokens=256 if name in _CODE else 16,
        needs="code" if name in _CODE else "choice" if name in _CHOICE else "box",
        batch_size=batch_size,
        rollouts=10 if name in _AIME else 1,
        code_wall_s=6 if name == "livecodebench" else 10,
    )


def style_of(name: str) -> Style:
    """The style that a system's name begins with, such as `sequential-light-math`.

    Raises:
        InputError: It begins with none.
    """
    for style in STYLES:
        if name.startswith(style):
            return style
    raise InputError(f"system {name!r} does not say its style by its name; pass --style, one of {', '.join(STYLES)}")
