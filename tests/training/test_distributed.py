"""Several processes: `accelerate` with gloo on this machine's CPU, as it would be with NCCL on GPUs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recursivemas.system.links_file import load_links
from recursivemas.training.links import Links
from tests.training.conftest import MakeSystem

SETTINGS: dict[str, Any] = {
    "inner_width": 16,
    "outer_width": 16,
    "inner": {"questions": 24, "steps": 3, "refinements": 1, "refinement_steps": 2},
    "outer": {
        "alignment_steps": 3,
        "steps": 6,
        "batch_size": 3,
        "gradient_accumulation": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
    },
}


@pytest.mark.slow
def test_two_processes_do_what_one_does(make_system: MakeSystem, tmp_path: Path) -> None:
    found = {}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--no-python"]
    system = make_system("distillation", **SETTINGS)
    for name, before in (("one", []), ("two", launch)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(system.model_dump(mode="json", by_alias=True, exclude={"edges"})))
        train = [sys.executable, "-m", "recursivemas.cli.app", "train", str(path), "--out", str(tmp_path / name)]
        environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*before, *train, "--threads", "1"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("recursivelink.json") == 1, "only the main process writes and says so"
        found[name] = Links.from_file(load_links(tmp_path / name / "recursivelink.json"))
    started = Links.from_file(load_links(tmp_path / "one" / "stages" / "started.json"))
    moved = max(
        float((a - b).detach().abs().max())
        for a, b in zip(found["one"].parameters(), started.parameters(), strict=True)
    )
    assert moved > 1e-3
    for a, b in zip(found["one"].parameters(), found["two"].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
