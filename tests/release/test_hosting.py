"""docs/hosting.md's recipes: each host serves the built system to the engine in a browser, which verifies all files."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from playwright.sync_api import Browser

from harness.engine_page import TELL_WHAT_IS_READ, EngineError, open_page
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.hub_upload import publish_to_hub
from recursivemas.release.package import build_system
from recursivemas.release.precompress import precompress
from recursivemas.release.release_folder import check_release_folder
from recursivemas.release.site import assemble_site
from recursivemas.system.system import load_system

from .hosts import Habits, python_http_server, static_host
from .hub_stand_in import TOKEN, running_hub

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "systems/hop-sequential.yaml"
LINKS = ROOT / "systems/links/hop-sequential.recursivelink.json"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default system; compiled agents come from the cache when they are there."""
    out = tmp_path_factory.mktemp("dist") / "hop-sequential"
    build_system(SYSTEM, LINKS, out, CompileOptions(load_system(SYSTEM).quantization))
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, harness: Path, system: Path) -> Path:
    """The engine's harness page and the system in one folder, as `rmas site` lays them out."""
    out = tmp_path_factory.mktemp("sites") / "site"
    assemble_site(harness, [system], out)
    return out


def check_loads(browser: Browser, page_url: str, system_url: str, system: Path, inject: str = "") -> None:
    """The engine loads the whole system from there: it downloads, verifies and compiles every agent."""
    with open_page(browser, page_url, inject) as engine:
        loaded = engine.load(system_url)
        last = loaded["progress"][-1]
        assert last["phase"] == "ready"
        assert last["loadedBytes"] == last["totalBytes"] > 0.9 * check_release_folder(system).size_bytes
        assert engine.dispose()["liveBytes"] == 0
        assert engine.complaints == []


def test_plain_python_server(browser: Browser, site: Path, system: Path) -> None:
    with python_http_server(site) as origin:
        check_loads(browser, f"{origin}/", "systems/hop-sequential/system.json", system)


def test_sub_path(browser: Browser, site: Path, system: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "repository").symlink_to(site)
    with python_http_server(tmp_path) as origin:
        check_loads(browser, f"{origin}/some/repository/", "systems/hop-sequential/system.json", system)


def test_artifacts_of_another_origin(browser: Browser, site: Path, system: Path) -> None:
    with static_host(site, Habits(cors=False)) as page, static_host(system, Habits(cors=True)) as artifacts:
        check_loads(browser, f"{page}/", f"{artifacts}/system.json", system)


def test_artifacts_of_another_origin_without_cors_are_a_clear_error(browser: Browser, site: Path, system: Path) -> None:
    with static_host(site, Habits()) as page, static_host(system, Habits(cors=False)) as artifacts:
        with open_page(browser, f"{page}/") as engine, pytest.raises(EngineError) as caught:
            engine.load(f"{artifacts}/system.json")
        assert caught.value.code == "download"
        assert f"{artifacts}/system.json" in str(caught.value)


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_connection_that_breaks_off(browser: Browser, site: Path, system: Path, ranges: bool) -> None:
    shard = max(system.rglob("params_shard_*.bin"), key=lambda path: path.stat().st_size)
    habits = Habits(ranges=ranges, cut={shard.relative_to(system).as_posix()})
    with static_host(site, habits) as origin:
        check_loads(browser, f"{origin}/", "systems/hop-sequential/system.json", system, TELL_WHAT_IS_READ)
    answers = [status for path, status, _ in habits.seen if path.endswith(shard.relative_to(system).as_posix())]
    assert answers == [200, 206 if ranges else 200]
    assert not habits.cut


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_precompressed_libraries(browser: Browser, site: Path, system: Path, tmp_path: Path, encoding: str) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    precompress(copy, [encoding])
    habits = Habits(precompressed=True)
    with static_host(copy, habits) as origin:
        check_loads(browser, f"{origin}/", "systems/hop-sequential/system.json", system)
    libraries = {used for path, status, used in habits.seen if path.endswith(".wasm") and status == 200}
    assert libraries == {encoding}


def test_published_repository_of_the_hub(
    browser: Browser, site: Path, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `rmas publish` sent loads from its resolve address, large files through redirects."""
    with running_hub() as hub, static_host(site, Habits()) as page:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", hub.endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        oid = publish_to_hub(check_release_folder(system), "owner/hop")
        check_loads(browser, f"{page}/", f"{hub.endpoint}/owner/hop/resolve/{oid}/system.json", system)


def test_stale_file_of_an_earlier_build_is_never_mixed_in(
    browser: Browser, site: Path, system: Path, tmp_path: Path
) -> None:
    """A cache that serves an old shard under a new manifest is found out; new builds have new names anyway."""
    copy = tmp_path / "system"
    shutil.copytree(system, copy)
    shard = next(copy.rglob("params_shard_0.bin"))
    shard.write_bytes(bytes(reversed(shard.read_bytes())))
    with static_host(site, Habits()) as page, static_host(copy, Habits()) as artifacts:
        with open_page(browser, f"{page}/") as engine, pytest.raises(EngineError) as caught:
            engine.load(f"{artifacts}/system.json")
        assert caught.value.code == "corrupt-file"


def test_every_file_but_the_entry_is_named_by_its_content(system: Path) -> None:
    manifest = json.loads((system / "system.json").read_text())
    used = {manifest["links"], manifest["task"]["questions"], *(agent["path"] for agent in manifest["agents"])}
    release = check_release_folder(system)
    digests = {file.path: file.sha256[:12] for file in release.files}
    for path in (manifest["links"], manifest["task"]["questions"]):
        assert f"-{digests[path]}." in path
    folders = [path.rstrip("/") for path in used if path.endswith("/")]
    assert len({folder.rsplit("-", 1)[1] for folder in folders}) == len(folders)
    named = {file.path for file in release.files if any(file.path.startswith(prefix.rstrip("/")) for prefix in used)}
    assert {file.path for file in release.files} - named == {"system.json", "sbom.cdx.json"}
