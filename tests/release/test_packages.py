"""The published packages, rehearsed without a network: built by the workflow's script, uploaded to a stand-in of PyPI
by trusted publishing, and used in environments that hold nothing else."""

import base64
import http.server
import importlib.metadata
import json
import os
import re
import ssl
import subprocess
import sysconfig
import tarfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from recursivemas.cli import doctor
from recursivemas.system.programs import install_command

from .environments import ROOT, answer_of_the_example, empty_environment, install, run
from .test_lock import CORE, EVERYTHING, PROJECT, TORCH, entries


def script(name: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs one of the workflow's scripts."""
    command = ["bash", str(ROOT / ".github" / name), *map(str, arguments)]
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


def test_release_refuses_a_tag_that_is_not_the_version(tmp_path: Path) -> None:
    done = script("build-python.sh", tmp_path / "out", TAG="v999.0.0")
    assert done.returncode == 1 and "the tag must be v" in done.stderr
    assert not (tmp_path / "out").exists()


class Index(http.server.ThreadingHTTPServer):
    """What PyPI and GitHub answer to a workflow that publishes; it keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"


class _Answers(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        assert isinstance(self.server, Index)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, self.headers.get("authorization") or "", body))
        known: dict[str, dict[str, Any]] = {
            "/_/oidc/audience": {"audience": "pypi"},
            "/identity": {"value": "signed.by.github"},
            "/_/oidc/mint-token": {"success": True, "token": "pypi-for-a-quarter-of-an-hour"},
        }
        data = json.dumps(known.get(self.path.partition("?")[0], {})).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    server = Index(tmp_path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_release_uploads_with_a_token_that_pypi_gives_to_this_workflow(packages: Path, index: Index) -> None:
    done = script(
        *("publish-python.sh", packages),
        UV_PUBLISH_URL=f"{index.url}/legacy/",
        ACTIONS_ID_TOKEN_REQUEST_URL=f"{index.url}/identity?version=2",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="of-the-job",
        GITHUB_ACTIONS="true",
        SSL_CERT_FILE=str(index.certificate),
        NO_PROXY="*",
    )
    assert done.returncode == 0, done.stderr
    asked = [(method, path.partition("?")[0]) for method, path, _, _ in index.asked]
    assert asked[:3] == [("GET", "/_/oidc/audience"), ("GET", "/identity"), ("POST", "/_/oidc/mint-token")]
    assert json.loads(index.asked[2][3]) == {"token": "signed.by.github"}
    uploads = [(key, body) for _, path, key, body in index.asked if path == "/legacy/"]
    assert len(uploads) == 2
    for key, body in uploads:
        assert base64.b64decode(key.removeprefix("Basic ")) == b"__token__:pypi-for-a-quarter-of-an-hour"
        assert b'name="requires_dist"' in body and b"recursivemas-" in body
    for path in packages.iterdir():
        assert any(path.read_bytes() in body for _, body in uploads)


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


@pytest.mark.slow
def test_doctor_and_compile_work_without_torch(packages: Path, unpacked: Path, tmp_path: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    python = environment(tmp_path / "env", wheel, [CORE])
    missing = "import importlib.util as u; print([n for n in ('torch', 'accelerate', 'pytest') if u.find_spec(n)])"
    assert run(python, "-c", missing, cwd=tmp_path) == "[]\n"
    rmas = python.with_name("rmas")
    said = run(rmas, "doctor", cwd=tmp_path)
    assert re.search(r"absent\s+torch\s+not installed\s+pip install 'recursivemas\[train\]'", said), said
    agent = tmp_path / "agent"
    planner = unpacked / "systems/agents/planner"
    run(rmas, "compile", planner, "--quantization", "q4f32_1", "--out", agent, cwd=tmp_path)
    assert [path.suffix for path in agent.glob("*.wasm")] == [".wasm"]
    script = "import recursivemas as rm\ntry:\n    rm.load('a.yaml')\nexcept rm.InputError as error:\n    print(error)"
    assert "needs torch, which is not installed" in run(python, "-c", script, cwd=tmp_path)


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
