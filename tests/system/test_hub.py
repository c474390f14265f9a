"""From a name to a folder: what each failure of the hub becomes, and that being offline is found out at once."""

import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from recursivemas.system import hub
from recursivemas.system.errors import InputError
from recursivemas.system.hub import resolve_model
from recursivemas.system.lora import CONFIG, WEIGHTS, read_adapter
from tests.release.hub_stand_in import TOKEN, Commit, Repository, running_hub

COMMIT = "0123456789012345678901234567890123456789"


def response(status: int) -> Any:
    return types.SimpleNamespace(headers={}, status_code=status, request=None)


def test_resolve_model_takes_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "My-Model"
    folder.mkdir()
    resolved = resolve_model(str(folder))
    assert (resolved.folder, resolved.name, resolved.source, resolved.revision) == (folder, "My-Model", None, None)
    with pytest.raises(InputError, match="--revision is for models of the hub"):
        resolve_model(str(folder), "main")


@pytest.mark.parametrize("model", ["nowhere", "./a/b", "/no/such/folder", "a/b/c"])
def test_resolve_model_refuses_what_is_neither(model: str) -> None:
    with pytest.raises(InputError, match=r"no such checkpoint folder, and not a hub id \(owner/name\) either"):
        resolve_model(model)


class Hub:
    """Stands for huggingface_hub.snapshot_download: remembers the calls, answers or fails as told."""

    def __init__(self, folder: Path, error: Exception | None = None, needed: int = 1000) -> None:
        self.folder = folder
        self.error = error
        self.needed = needed
        self.calls: list[dict[str, Any]] = []

    def __call__(self, model: str, **options: Any) -> Any:
        self.calls.append({"model": model, **options})
        if options.get("dry_run"):
            return [types.SimpleNamespace(file_size=self.needed, will_download=True)]
        if self.error is not None:
            raise self.error
        return str(self.folder)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_resolve_model_downloads_only_what_is_needed(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Hub(snapshot)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    resolved = resolve_model("Qwen/Qwen2.5-0.5B-Instruct", "v1")
    assert resolved == hub.ResolvedModel(snapshot, "Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", COMMIT)
    assert fake.calls[-1]["revision"] == "v1"
    options = {key: fake.calls[-1][key] for key in ("allow_patterns", "ignore_patterns")}
    repository = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    repository.append("additional_chat_templates/rag.jinja")
    refused = ["pytorch_model.bin", "consolidated.safetensors", "original/model.safetensors", "model.gguf", "README.md"]
    assert list(huggingface_hub.utils.filter_repo_objects(repository + refused, **options)) == repository


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("gated", response=response(403)), r"gated on the hub; accept its terms at https://"),
        (errors.RepositoryNotFoundError("no", response=response(404)), r"neither a folder here nor a repository"),
        (errors.RevisionNotFoundError("no", response=response(404)), r"has no revision 'v9'"),
        (errors.LocalEntryNotFoundError("offline"), r"cannot be reached \(offline\?\); .*'hf download a/b'"),
        (
            errors.HfHubHTTPError("503\nmore", response=response(503)),
            r"failed \(503\); run it again to resume",
        ),
        (errors.XetDownloadError("broken pipe"), r"failed \(broken pipe\); run it again to resume"),
        (OSError(28, "No space left on device"), r"failed \(.*No space left on device\)"),
    ],
)
def test_resolve_model_says_what_the_hub_refused(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(snapshot, error))
    with pytest.raises(InputError, match=message) as caught:
        resolve_model("a/b", "v9")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "answers 401 (it needs 'hf auth login'"),
        (403, "answers 403 (it needs 'hf auth login'"),
        (404, "answers 404 (it does not have this)"),
        (429, "answers 429 (too many requests: wait some minutes)"),
        (500, "answers 500 (a fault of the hub: try again later)"),
        (503, "answers 503 (a fault of the hub: try again later)"),
    ],
)
def test_what_the_hub_answers_is_not_called_offline(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    error = errors.LocalEntryNotFoundError("an error happened")
    error.__cause__ = errors.HfHubHTTPError(str(status), response=response(status))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(snapshot, error))
    with pytest.raises(InputError) as caught:
        resolve_model("a/b")
    assert words in str(caught.value) and "offline" not in str(caught.value)


@pytest.mark.parametrize("mended", [True, False])
def test_damaged_file_of_the_hubs_cache_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mended: bool
) -> None:
    blob = tmp_path / "blobs" / hashlib.sha256(b"weights").hexdigest()
    snapshot = tmp_path / "snapshots" / COMMIT
    blob.parent.mkdir()
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
    blob.write_bytes(b"weightz")

    def download(model: str, **options: Any) -> Any:
        if options.get("dry_run"):
            return []
        if not blob.exists():
            blob.write_bytes(b"weights" if mended else b"weighty")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    if mended:
        assert (resolve_model("a/b").folder / "model.safetensors").read_bytes() == b"weights"
    else:
        with pytest.raises(InputError, match="is damaged, and so is a new download of it; check this disk"):
            resolve_model("a/b")


def test_checkpoint_with_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/LICENSE").symlink_to("/etc/passwd")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    with pytest.raises(InputError, match="LICENSE: is a link to /etc/passwd, which is outside of the folder"):
        resolve_model(str(tmp_path / "link"))


def test_resolve_model_refuses_a_repository_without_safetensors(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(snapshot))
    with pytest.raises(InputError, match=r"has no model\*.safetensors"):
        resolve_model("a/b")


def test_resolve_model_asks_for_room_before_it_downloads(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Hub(snapshot, needed=1 << 60)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    with pytest.raises(InputError, match=r"the download needs 1152921504607 MB, .* MB free; make room"):
        resolve_model("a/b")
    assert [call.get("dry_run") for call in fake.calls] == [True]


def test_adapter_of_the_hub_comes_at_the_revision_that_is_asked_for(tmp_path: Path) -> None:
    """The real client against the stand-in, in a process of its own, because the client reads its address once."""
    folder = Path(__file__).parents[2] / "systems/adapters/townsfolk"
    config = (folder / CONFIG).read_bytes()
    earlier, later = "1" * 40, "2" * 40
    with running_hub() as stand_in:
        weights = (folder / WEIGHTS).read_bytes()
        digest = hashlib.sha256(weights).hexdigest()
        stand_in.large[digest] = weights
        stand_in.small |= {"first": config, "second": config.replace(b'"lora_alpha": 16', b'"lora_alpha": 32')}
        commits = []
        for oid, small in ((earlier, "first"), (later, "second")):
            tree = {CONFIG: (False, small, len(stand_in.small[small])), WEIGHTS: (True, digest, len(weights))}
            commits.append(Commit(oid, oid[0], {**tree, "README.md": (False, "first", 1)}))
        stand_in.repositories["owner/roles"] = Repository(commits)
        program = (
            "import json\n"
            "from recursivemas.system.hub import CheckpointRef\n"
            "for revision in (None, '1' * 40):\n"
            f"    model = CheckpointRef({str(folder.parents[1] / 'agents/planner')!r}, adapter='owner/roles',\n"
            "                          adapter_revision=revision).resolve()\n"
            "    print(json.dumps(model.adapter.record))\n"
        )
        environment = {
            **os.environ,
            "HF_ENDPOINT": stand_in.endpoint,
            "HF_HOME": str(tmp_path),
            "HF_TOKEN": TOKEN,
            "no_proxy": "*",
        }
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        fetched = [path for method, path in stand_in.requests if method == "GET"]
    assert done.returncode == 0, done.stderr
    newest, asked = map(json.loads, done.stdout.splitlines())
    assert (newest["adapter"], newest["revision"]) == ("owner/roles", later)
    assert asked == {"adapter": "owner/roles", "revision": earlier, "sha256": read_adapter(folder).sha256}
    assert newest["sha256"] != asked["sha256"]
    assert any(earlier in path for path in fetched)
    assert not any("README.md" in path for path in fetched)


def test_resolve_model_offline_fails_at_once_with_the_real_library(tmp_path: Path) -> None:
    """An address where nothing listens: the real client must give up, well inside the time limit of the child."""
    script = (
        "from recursivemas.system.hub import resolve_model\n"
        "from recursivemas.system.errors import InputError\n"
        "import json\n"
        "try:\n    resolve_model('Qwen/Qwen2.5-0.5B-Instruct')\n"
        "except InputError as error:\n    print(json.dumps(str(error)))\n"
    )
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    message = json.loads(result.stdout)
    assert "the Hugging Face hub cannot be reached" in message
    assert "give that folder" in message
