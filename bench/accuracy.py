"""The accuracy of the shipped systems on their held-out questions, with every baseline, by `rmas eval`.

`rmas build --measured docs/evidence` puts the reports into the manifests of builds with these links. `python -m
bench.accuracy NAME` measures one system.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench._shipped import EVIDENCE, ROOT, shipped
from recursivemas.system.files import write_text_atomic
from recursivemas.system.names import MODES
from recursivemas.training.evaluation.evaluate import CONTROLS


def main(names: Sequence[str] = ()) -> None:
    """Runs `rmas eval` for every shipped system, or those named."""
    for each in shipped(names):
        rounds = ",".join(str(number) for number in range(1, each.system.rounds + 1))
        with tempfile.TemporaryDirectory() as folder:
            modes, controls = ",".join(mode.name for mode in MODES), ",".join(CONTROLS)
            options = ["--rounds", rounds, "--mode", modes, "--control", controls, "--out", folder]
            place = [str(each.path.relative_to(ROOT)), "--links", str(each.links.relative_to(ROOT))]
            subprocess.run(
                [sys.executable, "-m", "recursivemas.cli.app", "eval", *place, *options], cwd=ROOT, check=True
            )
            report = Path(folder, "eval.json").read_text(encoding="utf-8")
        write_text_atomic(EVIDENCE / f"bench-accuracy-{each.system.name}.json", report)


if __name__ == "__main__":
    main(sys.argv[1:])
