"""`rmas publish --hub` against the stand-in, with every fault the Hub is known for."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from typer.testing import CliRunner

from recursivemas.release import hub_upload
from recursivemas.release.hub_upload import publish_to_hub, trusted_publishing
from recursivemas.release.release_folder import check_release_folder
from recursivemas.system.errors import InputError

from .hub_stand_in import TOKEN, Fault, Hub, running_hub
from .made_system import make_system

REPO = "owner/walk"

# The library's own, about its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, with the library talking to it by plain LFS and without waiting between attempts."""
    with running_hub() as running:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.endpoint)
        template = f"{running.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", running.endpoint)
        monkeypatch.setattr("time.sleep", lambda _: None)
        huggingface_hub.utils.disable_progress_bars()
        yield running


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return make_system(tmp_path / "walk")


def publish(folder: Path, repo_id: str = REPO) -> str:
    return publish_to_hub(check_release_folder(folder), repo_id)


def check_holds(hub: Hub, folder: Path, repo_id: str = REPO) -> None:
    """The repository's head is the folder, byte for byte, with a card; every large file was sent once."""
    release = check_release_folder(folder)
    tree = hub.repositories[repo_id].head.tree
    assert set(tree) == {file.path for file in release.files} | {"README.md", ".gitattributes"}
    for file in release.files:
        assert hashlib.sha256(hub.content(repo_id, file.path)).hexdigest() == file.sha256
    assert set(hub.uploads.values()) == {1}, "a large file was stored twice"


def test_publish_makes_one_commit_with_every_file(hub: Hub, system: Path) -> None:
    oid = publish(system)
    check_holds(hub, system)
    assert [commit.oid for commit in hub.repositories[REPO].commits][1:] == [oid]


def test_publish_again_sends_nothing(hub: Hub, system: Path) -> None:
    first = publish(system)
    sent = sum(hub.uploads.values())
    assert publish(system) == first
    assert sum(hub.uploads.values()) == sent
    assert len(hub.repositories[REPO].commits) == 2
    assert not any(path.endswith("/commit/main") for _, path in hub.requests[-3:])


def test_publish_of_a_new_build_sends_what_changed_and_removes_what_is_gone(
    hub: Hub, system: Path, tmp_path: Path
) -> None:
    publish(system)
    hub.repositories[REPO].head.tree["notes.txt"] = (False, next(iter(hub.small)), 17)
    before = set(hub.uploads)
    newer = make_system(tmp_path / "newer", seed=1)
    (newer / "agents/solver/params_shard_1.bin").rename(newer / "agents/solver/params_shard_9.bin")
    from .made_system import manifest

    manifest(newer, "walk").save(newer / "system.json")
    publish(newer)
    tree = hub.repositories[REPO].head.tree
    assert "agents/solver/params_shard_1.bin" not in tree
    assert "notes.txt" in tree, "a file that no release listed was removed"
    changed = {path for path, (large, oid, _) in tree.items() if large and oid not in before}
    assert changed == {"agents/solver/params_shard_0.bin", "agents/solver/params_shard_9.bin"}


PASSING = {
    "dropped in the middle of a shard": Fault("PUT", "/storage/", 0, times=2),
    "too many requests": Fault("POST", "/preupload/", 429, headers={"Retry-After": "1"}),
    "too many requests at the commit": Fault("POST", "/commit/main$", 429, headers={"Retry-After": "1"}),
    "server error at a shard": Fault("PUT", "/storage/", 500, times=2),
    "server error at the batch": Fault("POST", "/objects/batch", 503),
    "server error at the commit": Fault("POST", "/commit/main$", 500),
    "connection lost after the commit": Fault("POST", "/commit/main$", -1),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_publish_survives_a_passing_fault(hub: Hub, system: Path, fault: Fault) -> None:
    hub.faults.append(Fault(**vars(fault)))
    publish(system)
    assert hub.faults[0].times == 0
    check_holds(hub, system)
    assert len(hub.repositories[REPO].commits) == 2, "the release was committed twice"


FOREVER = 10_000
LASTING = {
    "token refused": (Fault("POST", "/repos/create", 401, FOREVER, "Invalid credentials"), "refused the token"),
    "token may only read": (Fault("POST", "/preupload/", 403, FOREVER, "You need write access"), "refused the token"),
    "every shard dropped": (Fault("PUT", "/storage/", 0, FOREVER), "run it again"),
    "always too many requests": (Fault("POST", "/commit/main$", 429, FOREVER, "slow down"), "run it again"),
    "always a server error": (Fault("PUT", "/storage/", 500, FOREVER, "out of order"), "run it again"),
    "quota": (Fault("POST", "/objects/batch", 403, FOREVER, "Private repository storage limit reached"), "no room"),
    "quota at the commit": (Fault("POST", "/commit/main$", 402, FOREVER, "Storage quota exceeded"), "no room"),
}


@pytest.mark.parametrize(("fault", "said"), LASTING.values(), ids=LASTING.keys())
def test_publish_stops_with_one_line_and_a_second_run_completes(
    hub: Hub, system: Path, fault: Fault, said: str
) -> None:
    hub.faults.append(Fault(**vars(fault)))
    with pytest.raises(InputError, match=said) as caught:
        publish(system)
    assert "\n" not in str(caught.value)
    assert all(len(repository.commits) == 1 for repository in hub.repositories.values()), "half a release was committed"
    hub.faults.clear()
    publish(system)
    check_holds(hub, system)


def test_publish_sends_only_the_rest_after_a_shard_failed(hub: Hub, system: Path) -> None:
    shard = hashlib.sha256((system / "agents/solver/params_shard_1.bin").read_bytes()).hexdigest()
    hub.faults.append(Fault("PUT", f"/storage/{shard}", 0, FOREVER))
    with pytest.raises(InputError, match="run it again"):
        publish(system)
    stored = set(hub.uploads)
    assert stored and shard not in stored
    hub.faults.clear()
    publish(system)
    assert set(hub.uploads) >= {*stored, shard}
    check_holds(hub, system)


def test_publish_starts_from_what_somebody_else_committed_meanwhile(hub: Hub, system: Path) -> None:
    hub.faults.append(Fault("POST", "/commit/main$", 412, message="A commit has happened since"))
    publish(system)
    check_holds(hub, system)


def test_publish_needs_a_token(hub: Hub, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(hub_upload, "get_token", lambda: None)
    with pytest.raises(InputError, match="secret HF_TOKEN"):
        publish(system)
    assert hub.requests == []


def test_publish_with_another_token_is_refused(hub: Hub, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_else")
    with pytest.raises(InputError, match="refused the token"):
        publish(system)
    assert hub.repositories == {}


@pytest.fixture
def workflow(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a GitHub job with `id-token: write` and an empty secret HF_TOKEN."""
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{hub.endpoint}/id-token")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the runner")
    monkeypatch.setenv("HF_OIDC_RESOURCE", "")
    monkeypatch.setattr("huggingface_hub.utils._auth._OIDC_TOKEN_CACHE", None)


def test_publish_from_a_workflow_needs_no_secret_with_trusted_publishing(
    hub: Hub, system: Path, workflow: None
) -> None:
    hub.publishers.add(REPO)
    trusted_publishing(REPO)
    publish(system)
    check_holds(hub, system)


def test_publish_from_a_workflow_without_any_token_says_how_to_get_one(hub: Hub, system: Path, workflow: None) -> None:
    trusted_publishing(REPO)
    with pytest.raises(InputError, match="set HF_TOKEN"):
        publish(system)
    assert hub.repositories == {}


def test_publish_refuses_a_repository_of_another_system(hub: Hub, system: Path, tmp_path: Path) -> None:
    publish(system)
    other = make_system(tmp_path / "other", name="other")
    with pytest.raises(InputError, match="holds the system 'walk'"):
        publish(other)
    check_holds(hub, system)


def test_publish_refuses_a_name_that_is_no_repository(hub: Hub, system: Path) -> None:
    with pytest.raises(InputError, match="expected owner/name"):
        publish(system, "a/b/c")


def test_command_prints_the_address_of_the_manifest(hub: Hub, system: Path) -> None:
    from recursivemas.cli.app import app

    result = CliRunner().invoke(app, ["publish", str(system), "--hub", REPO])
    assert result.exit_code == 0, result.output
    oid = hub.repositories[REPO].head.oid
    assert result.stdout == f"{hub.endpoint}/{REPO}/resolve/{oid}/system.json\n"
    assert json.loads(hub.content(REPO, "system.json"))["name"] == "walk"
