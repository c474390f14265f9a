"""The published packages, rehearsed without a network: built by the workflow's scripts, uploaded to stand-ins of PyPI
and npm by trusted publishing, and the Python package used in environments that hold nothing else."""

import base64
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from harness.gguf_files import write_gguf
from harness.tiny_models import Case, make_model
from recursivemas.cli import doctor
from recursivemas.system.lora import read_adapter
from recursivemas.system.programs import install_command
from tests.system.test_gguf import shape
from tests.system.test_lora import KINDS, trained

from .environments import ROOT, answer_of_the_example, copy_web, empty_environment, install, run
from .registries import Registry, serving
from .test_lock import CORE, EVERYTHING, PROJECT, TORCH, entries

SCRIPTS = ROOT / ".github"


def script(
    name: str, *arguments: str | Path, folder: Path = SCRIPTS, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Runs one of the workflow's scripts."""
    command = ["bash", str(folder / name), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the source distribution, as the workflow builds them."""
    out = tmp_path_factory.mktemp("packages")
    done = script("build-python.sh", out, TAG=f"v{PROJECT['version']}")
    assert done.returncode == 0, done.stderr
    return out


def test_release_builds_one_wheel_and_one_source_distribution(packages: Path) -> None:
    version = PROJECT["version"]
    names = [f"recursivemas-{version}-py3-none-any.whl", f"recursivemas-{version}.tar.gz"]
    assert sorted(path.name for path in packages.iterdir()) == names


@pytest.mark.parametrize("name", ["build-python.sh", "build-npm.sh"])
def test_release_refuses_a_tag_that_is_not_the_version(name: str, tmp_path: Path) -> None:
    done = script(name, tmp_path / "out", TAG="v999.0.0")
    assert done.returncode == 1 and f"the tag must be v{PROJECT['version']}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_file_with_the_version_has_the_same_one() -> None:
    package = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    found = [package["version"], lock["version"], lock["packages"][""]["version"], str(citation["version"])]
    assert found == [PROJECT["version"]] * 4


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Registry]:
    """What PyPI and GitHub answer to a workflow that publishes."""
    answers = {
        "/_/oidc/audience": {"audience": "pypi"},
        "/identity": {"value": "signed.by.github"},
        "/_/oidc/mint-token": {"success": True, "token": "pypi-for-a-quarter-of-an-hour"},
    }
    with serving(Registry(answers, tmp_path)) as registry:
        yield registry


def test_release_uploads_with_a_token_that_pypi_gives_to_this_workflow(packages: Path, index: Registry) -> None:
    done = script(
        *("publish-python.sh", packages),
        UV_PUBLISH_URL=f"{index.url}/legacy/",
        SSL_CERT_FILE=str(index.certificate),
        **index.identity(),
    )
    assert done.returncode == 0, done.stderr
    asked = [(each.method, each.path) for each in index.asked]
    assert asked[:3] == [("GET", "/_/oidc/audience"), ("GET", "/identity"), ("POST", "/_/oidc/mint-token")]
    assert json.loads(index.asked[2].body) == {"token": "signed.by.github"}
    uploads = [each for each in index.asked if each.path == "/legacy/"]
    assert len(uploads) == 2
    for each in uploads:
        key = base64.b64decode(each.authorization.removeprefix("Basic "))
        assert key == b"__token__:pypi-for-a-quarter-of-an-hour"
        assert b'name="requires_dist"' in each.body and b"recursivemas-" in each.body
    for path in packages.iterdir():
        assert any(path.read_bytes() in each.body for each in uploads)


def copied_clone(folder: Path) -> Path:
    """What build-npm.sh reads, so that it does not write into the clone where other tests build the engine; returns
    the folder of the workflow's scripts."""
    shutil.copytree(ROOT / ".github", folder / ".github")
    copy_web(folder / "web")
    (folder / "web/node_modules").symlink_to(ROOT / "web/node_modules")
    for name in ("docs", "LICENSE", "systems"):
        (folder / name).symlink_to(ROOT / name)
    return folder / ".github"


@pytest.fixture(scope="module")
def npm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the engine's package, as the workflow builds it."""
    scripts = copied_clone(tmp_path_factory.mktemp("clone"))
    out = tmp_path_factory.mktemp("npm")
    done = script(
        *("build-npm.sh", out), folder=scripts, TAG=f"v{PROJECT['version']}", GITHUB_REPOSITORY="owner/repository"
    )
    assert done.returncode == 0, done.stderr
    return out


def test_release_packs_the_engine_with_the_address_of_its_repository(npm_package: Path) -> None:
    (package,) = npm_package.iterdir()
    assert package.name == f"recursivemas-{PROJECT['version']}.tgz"
    with tarfile.open(package) as files:
        text = files.extractfile("package/package.json")
        assert text is not None
        manifest = json.load(text)
    assert manifest["version"] == PROJECT["version"]
    assert manifest["repository"] == {"type": "git", "url": "git+https://github.com/owner/repository.git"}
    assert "private" not in manifest


def test_release_shows_what_it_would_send_to_npm(npm_package: Path) -> None:
    with serving(Registry({})) as npm:
        done = script("publish-npm.sh", npm_package, NPM_FLAGS=f"--dry-run --registry={npm.url}", NO_PROXY="*")
    assert done.returncode == 0, done.stderr
    assert f"+ recursivemas@{PROJECT['version']}" in done.stdout
    assert "public access (dry-run)" in done.stderr
    assert {each.method for each in npm.asked} <= {"GET"}


def test_release_sends_the_engine_with_a_token_that_npm_gives_to_this_workflow(npm_package: Path) -> None:
    npm_version = Version(subprocess.run(["npm", "--version"], capture_output=True, text=True, check=True).stdout)
    if npm_version < Version("11.5.1"):  # the workflow takes the npm of Node 24
        pytest.skip(f"npm {npm_version} does not know trusted publishing; 11.5.1 was the first")
    token = "/-/npm/v1/oidc/token/exchange/package/recursivemas"
    answers = {"/identity": {"value": "signed.by.github"}, token: {"token": "npm-for-some-minutes"}}
    with serving(Registry(answers)) as npm:
        # The statement of provenance is signed by a service that only a workflow of GitHub can ask.
        flags = f"--registry={npm.url} --no-provenance"
        done = script("publish-npm.sh", npm_package, NPM_FLAGS=flags, **npm.identity())
    assert done.returncode == 0, done.stderr
    exchange = next(each for each in npm.asked if each.path == token)
    assert (exchange.method, exchange.authorization) == ("POST", "Bearer signed.by.github")
    (sent,) = (each for each in npm.asked if each.method == "PUT")
    assert (sent.path, sent.authorization) == ("/recursivemas", "Bearer npm-for-some-minutes")
    body = json.loads(sent.body)
    assert body["access"] == "public" and list(body["versions"]) == [PROJECT["version"]]
    (attached,) = body["_attachments"].values()
    (package,) = npm_package.iterdir()
    assert base64.b64decode(attached["data"]) == package.read_bytes()


def borrow(site: Path, names: Iterable[str]) -> None:
    """Links the files of installed distributions into another environment, and no others."""
    for name in names:
        own = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in own.files or [] if not file.parts[0].startswith((".", "__pycache__"))}:
            source = Path(str(own.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)


def environment(folder: Path, wheel: Path, locks: Iterable[Path]) -> Path:
    """A fresh environment with the wheel and the packages of lock files; returns its interpreter."""
    programs = empty_environment(folder)
    install(programs, "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    assert Path(here).is_dir()
    names = {name for lock in locks for name, (each, _) in entries(lock).items() if _is_wanted(each)}
    borrow(site, names)
    return programs / "python"


def _is_wanted(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


@pytest.fixture(scope="module")
def unpacked(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, which has the systems."""
    folder = tmp_path_factory.mktemp("sdist")
    (archive,) = packages.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


@pytest.mark.slow
def test_three_lines_run_in_an_environment_with_the_wheel(packages: Path, unpacked: Path, tmp_path: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    python = environment(tmp_path / "env", wheel, [EVERYTHING, TORCH])
    assert answer_of_the_example(python, tmp_path, unpacked / "systems") == "d\n"


@pytest.fixture
def without_torch(packages: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment with the wheel and what the playground needs."""
    (wheel,) = packages.glob("*.whl")
    python = environment(tmp_path / "env", wheel, [CORE])
    missing = (
        "import importlib.util as u; print([n for n in ('torch', 'accelerate', 'peft', 'pytest') if u.find_spec(n)])"
    )
    assert run(python, "-c", missing, cwd=tmp_path) == "[]\n"
    return python


@pytest.mark.slow
def test_doctor_and_compile_work_without_torch(without_torch: Path, unpacked: Path, tmp_path: Path) -> None:
    rmas = without_torch.with_name("rmas")
    said = run(rmas, "doctor", cwd=tmp_path)
    assert re.search(r"absent\s+torch\s+not installed\s+pip install 'recursivemas\[train\]'", said), said
    agent = tmp_path / "agent"
    planner = unpacked / "systems/agents/planner"
    run(rmas, "compile", planner, "--quantization", "q4f32_1", "--out", agent, cwd=tmp_path)
    assert [path.suffix for path in agent.glob("*.wasm")] == [".wasm"]
    script = "import recursivemas as rm\ntry:\n    rm.load('a.yaml')\nexcept rm.InputError as error:\n    print(error)"
    assert "needs torch, which is not installed" in run(without_torch, "-c", script, cwd=tmp_path)


@pytest.mark.slow
def test_a_gguf_file_with_an_adapter_is_compiled_without_torch(without_torch: Path, tmp_path: Path) -> None:
    case = Case("llama", "LlamaForCausalLM", shape(tie_word_embeddings=True, num_hidden_layers=1), 1)
    trained(case, tmp_path, **KINDS["plain"])
    gguf = write_gguf(make_model(case), tmp_path / "tiny.gguf")
    out = tmp_path / "agent"
    options = ("--adapter", tmp_path / "adapter", "--quantization", "q4f32_1", "--out", out)
    run(without_torch.with_name("rmas"), "compile", gguf, *options, cwd=tmp_path)
    ours = json.loads((out / "mlc-chat-config.json").read_text(encoding="utf-8"))["recursivemas"]
    assert (ours["model"], ours["adapter"]["adapter"]) == ("tiny", "adapter")
    assert ours["adapter"]["sha256"] == read_adapter(tmp_path / "adapter").sha256


@pytest.mark.parametrize(
    ("platform", "words"),
    [("linux", "sudo apt-get install"), ("darwin", "brew install"), ("win32", "winget install")],
)
def test_doctor_names_the_package_manager_of_the_system(platform: str, words: str) -> None:
    for program in ("python", "node", "emscripten", "chromium"):
        assert words in install_command(program, platform)


def test_doctor_misses_no_browser_where_only_tests_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    check = doctor._browser()
    assert (check.ok, check.required) == (False, False)
    assert "the tests need it" in check.remedy


def test_doctor_starts_no_browser_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "platform", "win32")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: pytest.fail("a browser would open"))
    monkeypatch.setattr(doctor.shutil, "which", lambda program: program)
    assert doctor._browser().ok
