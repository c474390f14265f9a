"""`rmas links convert` reads the links of the paper's release by their manifests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from typer.testing import CliRunner

from harness.released import make_links
from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.import_release import import_release
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.released_settings import STYLES, Style
from recursivemas.training.link_formats import RELEASED_NAMES
from tests.system.made_release import make_release


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Links of the sequential system, a folder for each repository."""
    make_links(tmp_path / "downloads", "sequential-light")
    return tmp_path / "downloads"


def system_file(tmp_path: Path, style: Style = "sequential-light", task: str = "math") -> Path:
    """A system whose agents are hub ids."""
    out = tmp_path / f"{style}.yaml"
    import_release(make_release(tmp_path / "copy"), style, task, out, {})
    return out


def convert(source: Path, *options: str) -> LinkFile:
    out = source.parent / "links.json"
    result = CliRunner().invoke(app, ["links", "convert", str(source), "--out", str(out), *options])
    if result.exception is not None:
        raise result.exception
    return load_links(out)


def tensor(path: Path, name: str) -> torch.Tensor:
    value: torch.Tensor = torch.load(path, weights_only=True)[name]
    return value


@pytest.mark.parametrize("style", STYLES)
def test_convert_finds_every_link_of_each_system(tmp_path: Path, style: Style) -> None:
    make_links(tmp_path / "downloads", style)
    system = system_file(tmp_path, style)
    links = convert(tmp_path / "downloads", "--system", str(system))
    manifest = json.loads((tmp_path / "downloads/outer/outerlink_config.json").read_text())
    entries = manifest["tasks"]["math"]["adapters"] if "tasks" in manifest else manifest["adapters"]
    for entry in entries:
        link = links.outer[f"{entry['source']}->{entry['target']}"]
        for theirs, ours in RELEASED_NAMES["outer"].items():
            expected = tensor(tmp_path / "downloads/outer" / entry["filename"], theirs)
            assert torch.equal(torch.tensor(link.tensors[ours].array()), expected)
    assert len(links.outer) == len(entries)
    for agent, link in links.inner.items():
        (file,) = [*(tmp_path / "downloads" / agent).glob("adapter(math).pt")] or [
            tmp_path / "downloads" / agent / "adapter.pt"
        ]
        assert torch.equal(torch.tensor(link.tensors["w1"].array()), tensor(file, "proj1.weight"))


def test_convert_takes_the_links_of_the_systems_task_or_of_another(tmp_path: Path, downloads: Path) -> None:
    def first(links: LinkFile) -> torch.Tensor:
        return torch.tensor(links.inner["planner"].tensors["w1"].array())

    code = system_file(tmp_path, task="code")
    assert torch.equal(
        first(convert(downloads, "--system", str(code))), tensor(downloads / "planner/adapter(code).pt", "proj1.weight")
    )
    other = convert(downloads, "--system", str(code), "--task", "math")
    assert torch.equal(first(other), tensor(downloads / "planner/adapter(math).pt", "proj1.weight"))
    by_hand = convert(downloads, "--system", str(code), "--inner", "planner=planner/adapter(math).pt")
    assert torch.equal(first(by_hand), tensor(downloads / "planner/adapter(math).pt", "proj1.weight"))
    assert by_hand.inner["critic"] == convert(downloads, "--system", str(code)).inner["critic"]


def test_a_system_file_alone_says_where_its_links_are(
    tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> Any:
        if options.get("dry_run"):
            return []
        asked[name] = options["allow_patterns"]
        return str(downloads / name.split("-")[1])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    system = system_file(tmp_path)
    assert convert(system) == convert(downloads, "--system", str(system))
    assert asked["made/sequential_light-outer-Qwen3"] == ["outerlink_config.json", "*.pt"]
    assert asked["made/sequential_light-planner-Qwen3"] == ["innerlink_config.json", "*.pt"]
    text = system.read_text()
    start = text.index("released_links:")
    system.write_text(text[:start] + text[text.index("decoding:") :])
    with pytest.raises(InputError, match="has no released_links, which say where"):
        convert(system)


def manifest(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(downloads: Path) -> None:
        path = downloads / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))), encoding="utf-8")

    return apply


OUTER, INNER = "outer/outerlink_config.json", "planner/innerlink_config.json"


def first_link(**changes: Any) -> Callable[[Any], Any]:
    def change(data: Any) -> Any:
        data["tasks"]["math"]["adapters"][0] |= changes
        return data

    return change


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "outer file": (
        lambda downloads: (downloads / "outer/Planner-Critic-Outerlink(math).pt").unlink(),
        r"outerlink_config.json: names 'Planner-Critic-Outerlink\(math\)\.pt', which is missing beside it",
    ),
    "inner file": (
        lambda downloads: (downloads / "planner/adapter(math).pt").unlink(),
        r"innerlink_config.json: names 'adapter\(math\).pt', which is missing beside it",
    ),
    "path": (manifest(OUTER, first_link(filename="../planner/adapter.pt")), "expected the name of a file beside it"),
    "edge": (
        manifest(OUTER, first_link(legacy_key="outer_13")),
        "'outer_13' names no edge of system 'sequential-light'",
    ),
    "key": (manifest(OUTER, first_link(legacy_key=None)), "None names no edge"),
    "missing edge": (
        manifest(OUTER, lambda data: {"adapters": data["tasks"]["math"]["adapters"][1:]}),
        "has no link for edge 'planner->critic'",
    ),
    "no list": (
        manifest(OUTER, lambda data: {"adapters": {}}),
        "expected a list 'adapters' of the outer links, got {}",
    ),
    "no object": (manifest(OUTER, lambda data: [data]), "expected a JSON object"),
    "no task": (
        manifest(OUTER, lambda data: {"tasks": {"code": data["tasks"]["code"]}}),
        "has no links for task 'math'; there are code",
    ),
    "link": (
        lambda downloads: (downloads / "outer/x.pt").symlink_to("../planner/adapter_config.json"),
        "is outside of the folder and is not read",
    ),
    "no JSON": (lambda downloads: (downloads / INNER).write_text("{"), "not valid JSON"),
    "swapped": (manifest(INNER, lambda data: {"tasks": {"math": {"adapter.pt": "other.pt"}}}), "names 'other.pt'"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=list(FAULTS))
def test_convert_says_in_one_line_what_is_wrong_with_a_manifest(
    tmp_path: Path, downloads: Path, change: Callable[[Path], Any], message: str
) -> None:
    system = system_file(tmp_path)
    change(downloads)
    with pytest.raises(InputError, match=message) as caught:
        convert(downloads, "--system", str(system))
    assert "\n" not in str(caught.value)


def test_manifests_with_several_tasks_need_one(tmp_path: Path, downloads: Path) -> None:
    system = system_file(tmp_path)
    system.write_text(system.read_text().replace("  task: math\n", ""))
    with pytest.raises(InputError, match="has links for code, math; choose with --task"):
        convert(downloads, "--system", str(system))
