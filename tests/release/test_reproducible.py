"""The release workflow's own commands, agent by agent, against one build in one go: the same bytes."""

import hashlib
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from recursivemas.compiler.runtime.objects import ensure_runtime
from recursivemas.release.release_folder import check_release_folder
from recursivemas.release.release_plan import plan_release
from recursivemas.system.cache import cache_folder

ROOT = Path(__file__).parents[2]
SCHEME = "q4f32_1"


def workplace(folder: Path) -> Path:
    """A folder like a clean clone on a runner, with nothing compiled but the web runtime."""
    folder.mkdir()
    for name in (".venv", "systems", "docs", "Makefile", "scripts", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    cache = folder / "cache"
    cache.mkdir()
    (cache / "runtime").symlink_to(cache_folder() / "runtime")
    return folder


def run(command: str, folder: Path, **environment: str) -> str:
    """Runs one command as a workflow's step does."""
    variables = {**os.environ, "RMAS_CACHE_DIR": str(folder / "cache"), **environment}
    result = subprocess.run(["bash", "-e", "-c", command], cwd=folder, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def steps(job: str) -> list[str]:
    """Commands of a job of the build workflow, `make` aside."""
    workflow: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/build-system.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]
    return [command for command in commands if shlex.split(command)[0].startswith(".venv")]


def digests(folder: Path) -> dict[str, str]:
    """Sha256 of every file by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_workflow_and_a_single_build_give_the_same_bytes(tmp_path: Path) -> None:
    ensure_runtime()
    plan = plan_release(ROOT / "systems", ["hop-sequential"], [SCHEME])
    runner = workplace(tmp_path / "runner")
    for entry in plan.agents:
        values = {name.upper(): str(entry[name]) for name in ("model", "revision", "quantization", "agent")}
        values["MODEL"] = str(
            Path(entry["model"]).relative_to(ROOT) if Path(entry["model"]).is_absolute() else entry["model"]
        )
        for command in steps("agent"):
            run(command, runner, **values)
    for entry in plan.systems:
        values = {name.upper(): str(entry[name]) for name in ("system", "quantization")}
        values["LINKS"] = str(Path(entry["links"]).relative_to(ROOT))
        for job in ("system", "attest"):
            for command in steps(job):
                said = run(command, runner, **values)
    by_workflow = runner / "dist" / "hop-sequential"
    release = check_release_folder(by_workflow)
    assert f"{release.label}.zip" in said
    assert {path.name for path in (runner / "assets").iterdir()} >= {
        f"{release.label}.zip",
        f"{release.label}.cdx.json",
    }

    other = workplace(tmp_path / "somewhere-else")
    links = "systems/links/hop-sequential.recursivelink.json"
    command = f".venv/bin/rmas build systems/hop-sequential.yaml --links {links} --quantization {SCHEME}"
    command += " --small-libraries --measured docs/evidence --out once"
    run(command, other)
    assert digests(by_workflow) == digests(other / "once")
    kinds = {Path(path).suffix for path in digests(by_workflow)}
    assert {".bin", ".wasm", ".json"} <= kinds

    provenance = release.manifest.provenance
    assert provenance["measured"], "what was measured of the default system is not in its manifest"
    assert {"system_sha256", "checkpoints", "links", "source_revision", "versions"} <= set(provenance)
    assert {"recursivemas", "apache-tvm", "apache-tvm-ffi", "emscripten"} <= set(provenance["versions"])
    assert all(len(each["weights_sha256"]) == 64 for each in provenance["checkpoints"].values())
    for agent in release.manifest.agents:
        assert agent.path.rstrip("/").rsplit("-", 1)[1].isalnum()
