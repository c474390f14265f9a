"""Trains and measures the tiny systems: `python -m recursivemas.training.evidence --out docs/evidence`."""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from recursivemas.training.evidence import cross_entropy, townsfolk
from recursivemas.training.evidence.jobs import EXPERIMENTS, found_so_far, run_job
from recursivemas.training.evidence.report import write_evidence


def measure(
    names: Sequence[str],
    seeds: Sequence[int],
    work: Path,
    systems: Path,
    out: Path,
    processes: int,
    parts: Sequence[str],
) -> None:
    """Runs every job that is not done, side by side; `parts` are those of the townsfolk system."""
    work.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        pending: list[Future[Path | None]] = []
        if townsfolk.NAME in names:
            # All seeds of one part before those of the next, because the first parts matter most.
            for part in parts:
                pending += [pool.submit(townsfolk.run_part, part, seed, work, systems, out, threads) for seed in seeds]
        for name in names:
            for seed in seeds if name != townsfolk.NAME else ():
                if name == cross_entropy.NAME:
                    pending.append(pool.submit(cross_entropy.run_seed, seed, work, systems))
                else:
                    pending.append(pool.submit(run_job, name, seed, work, systems))
        for done in pending:
            done.result()


def main() -> None:
    """Measures every experiment, or those named, and writes `<experiment>.json` and `.png`."""
    parser = argparse.ArgumentParser(
        prog="python -m recursivemas.training.evidence", description="Train and measure the tiny systems."
    )
    parser.add_argument("--out", type=Path, default=Path("docs/evidence"), help="Folder for tables and pictures.")
    parser.add_argument("--work", type=Path, default=Path("dist/.evidence"), help="Training runs and raw results.")
    parser.add_argument("--systems", type=Path, default=Path("systems"), help="Folder with the systems' YAML files.")
    names = [*EXPERIMENTS, cross_entropy.NAME, townsfolk.NAME]
    usual = [name for name in names if name != townsfolk.NAME]  # hours without a GPU
    parser.add_argument("--only", nargs="+", choices=names, default=usual)
    parser.add_argument("--parts", nargs="+", choices=list(townsfolk.PARTS), default=list(townsfolk.PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="Processes side by side.")
    parser.add_argument("--report", action="store_true", help="Only write what has been measured so far.")
    given = parser.parse_args()
    if not given.report:
        measure(given.only, given.seeds, given.work, given.systems, given.out, given.jobs, given.parts)
    writers = {cross_entropy.NAME: cross_entropy.write_curve, townsfolk.NAME: townsfolk.write_townsfolk}
    for name in given.only:
        if name in writers:
            if writers[name](given.seeds, given.work, given.out):
                print(given.out / f"{name}.json")
            continue
        found = [found_so_far(name, seed, given.work, given.systems) for seed in given.seeds]
        if raw := [record for record in found if record is not None]:
            write_evidence(name, EXPERIMENTS[name].system, raw, given.out)
            print(given.out / f"{name}.json")


if __name__ == "__main__":
    main()
