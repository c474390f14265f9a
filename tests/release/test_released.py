"""The paper's five systems: planned, compiled, built and published as the workflows do it, from tiny agents."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from harness.released import STYLES, make_links, make_style
from recursivemas.cli.app import app
from recursivemas.release.release_plan import plan_release
from recursivemas.system.manifest import load_manifest
from recursivemas.system.system import load_system

ROOT = Path(__file__).parents[2]
QUANTIZATION = "q4f32_1"


def commands(workflow: str, job: str) -> list[str]:
    """The calls of rmas in a job."""
    jobs = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())["jobs"]
    return [step["run"] for step in jobs[job]["steps"] if step.get("run", "").startswith(".venv/bin/rmas")]


def convert(downloads: Path, system: Path, out: Path) -> None:
    options = ["--system", str(system), "--task", "math", "--out", str(out)]
    result = CliRunner().invoke(app, ["links", "convert", str(downloads), *options])
    assert result.exception is None, result.exception


@pytest.mark.parametrize("style", STYLES)
def test_plan_accepts_a_published_system_with_links_in_place(tmp_path: Path, style: str) -> None:
    make_links(tmp_path / "downloads", style)
    systems = tmp_path / "systems"
    systems.mkdir()
    (systems / f"{style}.yaml").write_text((ROOT / f"systems/{style}.yaml").read_text())
    convert(tmp_path / "downloads", systems / f"{style}.yaml", systems / f"links/{style}.recursivelink.json")
    plan = plan_release(systems, [style], [QUANTIZATION])
    assert [entry["agent"] for entry in plan.agents] == list(STYLES[style].families)
    assert all(entry["model"].startswith("RecursiveMAS/") and entry["large"] for entry in plan.agents)
    assert [entry["system"] for entry in plan.systems] == [style]


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_workflows_commands_build_a_published_system_from_tiny_agents(tmp_path: Path, style: str) -> None:
    folders = make_style(tmp_path / "downloads", style)
    declared: dict[str, Any] = yaml.safe_load((ROOT / f"systems/{style}.yaml").read_text())
    for agent in declared["agents"]:
        agent["model"] = str(folders[agent["id"]])
    system = tmp_path / f"systems/{style}.yaml"
    system.parent.mkdir()
    system.write_text(yaml.safe_dump(declared, sort_keys=False))
    convert(tmp_path / "downloads", system, tmp_path / f"systems/links/{style}.recursivelink.json")
    for name in (".venv", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)

    def run(command: str, **variables: str) -> str:
        environment = {**os.environ, "SYSTEM": style, "QUANTIZATION": QUANTIZATION, "HF_HUB_OFFLINE": "1", **variables}
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    (plan,) = commands("build-system", "plan")
    run(plan, TAG="", GITHUB_OUTPUT="plan.txt")
    planned = dict(line.split("=", 1) for line in (tmp_path / "plan.txt").read_text().splitlines())
    (compile_,) = commands("build-system", "agent")
    for agent in json.loads(planned["agents"]):
        run(compile_, **{key.upper(): str(value) for key, value in agent.items()})
    (entry,) = json.loads(planned["systems"])
    for command in (*commands("build-system", "system"), *commands("build-system", "attest")):
        run(command, LINKS=entry["links"])
    for job in ("hub", "release"):
        (command,) = commands("publish", job)
        run(f"{command} --dry-run", HUB_NAMESPACE="owner", TAG="v0", DRAFT="yes")
    manifest = load_manifest(tmp_path / f"dist/{style}/system.json")
    assert [agent.id for agent in manifest.agents] == [agent.id for agent in load_system(system).agents]
