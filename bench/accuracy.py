"""The shipped systems' accuracy on their held-out questions, with every baseline: `rmas eval`, kept as evidence.

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

MODES = "latent,text,single,loop"
CONTROLS = "none,zeros,other_question"


def main(names: Sequence[str] = ()) -> None:
    """Runs `rmas eval` for every shipped system, or those named."""
    for each in shipped(names):
        rounds = ",".join(str(number) for number in range(1, each.system.rounds + 1))
        with tempfile.TemporaryDirectory() as folder:
            options = ["--rounds", rounds, "--mode", MODES, "--control", CONTROLS, "--out", folder]
            place = [str(each.path.relative_to(ROOT)), "--links", str(each.links.relative_to(ROOT))]
            subprocess.run(
                [sys.executable, "-m", "recursivemas.cli.app", "eval", *place, *options], cwd=ROOT, check=True
            )
            report = Path(folder, "eval.json").read_text(encoding="utf-8")
        write_text_atomic(EVIDENCE / f"bench-accuracy-{each.system.name}.json", report)


if __name__ == "__main__":
    main(sys.argv[1:])
