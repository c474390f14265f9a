"""Held-out questions and role texts of the synthetic tasks.

`python -m recursivemas.training.make_data --out systems/data` writes what the repository holds, and with
`--role-texts COUNT` role texts of the townsfolk task: so many for `rmas adapt`, and others for inner links.
"""

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recursivemas.system.files import write_text_atomic
from recursivemas.training.tasks import townsfolk
from recursivemas.training.tasks.data import FIRST_TRAINING_SEED, HELD_OUT_GENERATORS

HELD_OUT_SEED = 7
COUNTS = {"hop": 900, "hop-pair": 600, "drift": 900, "fare": 600, "townsfolk": 600}
ROLE_TEXTS_SEED = 1
STORY_SHARE = 36
"""One story of thoughts, with eighteen texts, for so many role texts."""
END = "<|im_end|>"
"""What ends a hand-off in text: the token that ends a turn of SmolLM2's chat template."""


def main() -> None:
    """Writes `<task>-test.jsonl` for every task, from a seed that training never draws from."""
    parser = argparse.ArgumentParser(description="Write the held-out questions.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--role-texts",
        type=int,
        metavar="COUNT",
        help="Write so many role texts of the townsfolk task, and nothing else.",
    )
    arguments = parser.parse_args()
    if arguments.role_texts is not None:
        _write_role_texts(arguments.out, arguments.role_texts)
        return
    assert HELD_OUT_SEED < FIRST_TRAINING_SEED
    for task, count in COUNTS.items():
        records = HELD_OUT_GENERATORS[task](HELD_OUT_SEED, count)
        rows = (record.model_dump(mode="json", exclude_none=True) for record in records)
        _write(arguments.out / f"{task}-test.jsonl", ({**row.pop("fields", {}), **row} for row in rows))


def _write_role_texts(out: Path, count: int) -> None:
    """Texts that agents learn their roles from, and others that inner links learn from: hand-offs, the guide's too."""
    _write(out / "townsfolk-roles.jsonl", townsfolk.role_texts(ROLE_TEXTS_SEED, count, END))
    thoughts = townsfolk.thought_texts(ROLE_TEXTS_SEED + 1, max(1, count // STORY_SHARE))
    guide = townsfolk.guide_texts(ROLE_TEXTS_SEED + 2, max(1, count // 8))
    _write(out / "townsfolk-thoughts.jsonl", itertools.chain(thoughts, guide))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
