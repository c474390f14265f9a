"""Trains and measures the tiny systems: `python -m recursivemas.training.evidence --out docs/evidence`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from recursivemas.training.evidence.jobs import EXPERIMENTS, found_so_far, run_job
from recursivemas.training.evidence.report import write_evidence


def measure(
    names: Sequence[str], seeds: Sequence[int], work: Path, systems: Path, processes: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Runs jobs side by side; yields each experiment with the raw results of its seeds."""
    work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {name: [pool.submit(run_job, name, seed, work, systems) for seed in seeds] for name in names}
        for name, futures in waiting.items():
            yield name, [json.loads(future.result().read_text(encoding="utf-8")) for future in futures]


def main() -> None:
    """Measures every experiment, or those named, and writes `<experiment>.json` and `.png`."""
    parser = argparse.ArgumentParser(
        prog="python -m recursivemas.training.evidence", description="Train and measure the tiny systems."
    )
    parser.add_argument("--out", type=Path, default=Path("docs/evidence"), help="Folder for tables and pictures.")
    parser.add_argument("--work", type=Path, default=Path("dist/.evidence"), help="Training runs and raw results.")
    parser.add_argument("--systems", type=Path, default=Path("systems"), help="Folder with the systems' YAML files.")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="Processes, one thread each.")
    parser.add_argument("--report", action="store_true", help="Only write what has been measured so far.")
    given = parser.parse_args()
    if given.report:
        found = {n: [found_so_far(n, seed, given.work, given.systems) for seed in given.seeds] for n in given.only}
        results = ((name, [each for each in raw if each is not None]) for name, raw in found.items())
    else:
        results = measure(given.only, given.seeds, given.work, given.systems, given.jobs)
    for name, raw in results:
        if raw:
            write_evidence(name, EXPERIMENTS[name].system, raw, given.out)
            print(given.out / f"{name}.json")


if __name__ == "__main__":
    main()
