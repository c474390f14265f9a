"""Held-out questions of the synthetic tasks: `python -m recursivemas.training.make_data --out systems/data`."""

import argparse
import json
from pathlib import Path

from recursivemas.system.files import write_text_atomic
from recursivemas.training.tasks.data import FIRST_TRAINING_SEED, GENERATORS

HELD_OUT_SEED = 7
COUNTS = {"hop": 900, "hop-pair": 600, "drift": 900, "fare": 600}


def main() -> None:
    """Writes `<task>-test.jsonl` for every task, from a seed that training never draws from."""
    parser = argparse.ArgumentParser(description="Write the held-out questions.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    assert HELD_OUT_SEED < FIRST_TRAINING_SEED
    for task, count in COUNTS.items():
        records = GENERATORS[task](HELD_OUT_SEED, count)
        lines = [json.dumps(record.model_dump(mode="json", exclude_none=True)) + "\n" for record in records]
        write_text_atomic(arguments.out / f"{task}-test.jsonl", "".join(lines))


if __name__ == "__main__":
    main()
