"""The formats' versions: what an earlier release wrote still loads, what a newer one wrote is refused clearly.

`tests/fixtures/formats-1` was written by version 0.1.0 and is never edited; the page's reader is tested with the same
files in web/test/engine/formats.test.ts.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recursivemas.compiler.agent_folder import FORMAT_VERSION, read_agent_folder
from recursivemas.system.errors import InputError
from recursivemas.system.links_file import INNER_TENSORS, OUTER_TENSORS, load_links
from recursivemas.system.manifest import load_manifest
from recursivemas.system.names import ABI_VERSION
from recursivemas.system.system import load_system

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "tests/fixtures/formats-1"


def test_manifest_of_version_1_loads() -> None:
    manifest = load_manifest(FIRST / "system.json")
    assert [(agent.id, agent.hidden_size, agent.quantization) for agent in manifest.agents] == [
        ("planner", 96, "q4f32_1"),
        ("critic", 128, "q4f32_1"),
        ("solver", 160, "q4f32_1"),
    ]
    assert [(edge.source, edge.target, edge.feedback) for edge in manifest.edges] == [
        ("planner", "critic", False),
        ("critic", "solver", False),
        ("solver", "planner", True),
    ]
    assert manifest.agents[0].first_round_prompt is not None
    assert manifest.task is not None and manifest.task.questions is not None
    assert {manifest.links, manifest.task.questions} <= {file.path for file in manifest.files}
    assert manifest.provenance["versions"]["recursivemas"] == "0.1.0"


@pytest.mark.parametrize("variant", ["paper", "ln_res"])
def test_link_file_of_version_1_loads(variant: str) -> None:
    links = load_links(FIRST / f"{variant}.recursivelink.json")
    assert (links.variant, links.activation, links.layer_norm_eps) == (variant, "gelu", 1e-5)
    inner = links.inner["guide"].arrays(INNER_TENSORS[links.variant])
    outer = links.outer["guide->teller"].arrays(OUTER_TENSORS[links.variant])
    assert list(inner) == list(INNER_TENSORS[links.variant])
    np.testing.assert_array_equal(inner["w1"], [[-0.5, -0.375], [-0.25, -0.125], [0.0, 0.125]])
    np.testing.assert_array_equal(outer["b3"], [-0.5, -0.375, -0.25, -0.125])
    # The paper's form may leave a bias out: it is zero then.
    np.testing.assert_array_equal(inner["b2"], [0.0, 0.0] if variant == "paper" else [-0.5, -0.375])


def test_system_file_of_version_1_loads() -> None:
    system = load_system(FIRST / "walk.yaml")
    assert [(agent.id, agent.model, agent.revision) for agent in system.agents] == [
        ("guide", "owner/guide", "main"),
        ("teller", "owner/teller", None),
    ]
    assert [(edge.id, edge.feedback) for edge in system.edges] == [("guide->teller", False), ("teller->guide", True)]
    assert (system.decoding.temperature, system.decoding.top_p, system.decoding.seed) == (0.7, 0.9, 3)


def test_agent_folder_of_version_1_is_read(tmp_path: Path) -> None:
    folder = agent_folder(tmp_path)
    agent = read_agent_folder(folder)
    assert agent.folder == folder
    assert agent.ours["hidden_size"] == 96


def agent_folder(folder: Path) -> Path:
    """An agent folder as far as its reader looks: the configuration and the library's name."""
    text = (FIRST / "mlc-chat-config.json").read_text(encoding="utf-8")
    (folder / "mlc-chat-config.json").write_text(text, encoding="utf-8")
    (folder / json.loads(text)["recursivemas"]["model_lib"]).write_bytes(b"\0asm")
    return folder


def newer(folder: Path, name: str, written: str) -> Path:
    """A fixture's copy with the next version in it."""
    text = (FIRST / name).read_text(encoding="utf-8")
    assert len(re.findall(rf"^ *{written}\b", text, re.MULTILINE)) == 1
    path = folder / name
    path.write_text(re.sub(rf"^( *){written}\b", rf"\g<1>{written[:-1]}2", text, flags=re.MULTILINE), encoding="utf-8")
    return path


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "system.json": ('"version": 1', load_manifest),
    "ln_res.recursivelink.json": ('"version": 1', load_links),
    "walk.yaml": ("version: 1", load_system),
    "mlc-chat-config.json": ('"version": 1', lambda path: read_agent_folder(path.parent)),
}


@pytest.mark.parametrize(("name", "written", "read"), [(name, *rest) for name, rest in READERS.items()], ids=READERS)
def test_newer_version_is_refused_with_both_versions(
    name: str, written: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    agent_folder(tmp_path)
    path = newer(tmp_path, name, written)
    with pytest.raises(InputError, match="version 2 is newer than this program's 1; update it") as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_version_is_looked_at_before_keys_that_this_program_does_not_know(tmp_path: Path) -> None:
    data = json.loads((FIRST / "system.json").read_text(encoding="utf-8")) | {"version": 2, "colours": []}
    path = tmp_path / "system.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match="is newer"):
        load_manifest(path)


def test_documented_versions_are_the_programs() -> None:
    table = dict(re.findall(r"^\| (.+?) \| .+ \| (\d+) \|$", (ROOT / "docs/release.md").read_text(), re.MULTILINE))
    assert table == {
        "`systems/<name>.yaml`": "1",
        "`recursivelink.json`": "1",
        "`system.json`": "1",
        "`systems/index.json`": "1",
        "`shared-links.json`": "1",
        "`systems/gallery.json`": "1",
        "saved run": "5",
        "agent folder": str(FORMAT_VERSION),
        "library": str(ABI_VERSION),
    }
    page = (ROOT / "web/src/formats/generated/names.ts").read_text(encoding="utf-8")
    assert f"export const ABI_VERSION = {ABI_VERSION};" in page
