"""Bills of materials name what was used, and are the same bytes each time."""

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest

from recursivemas.compiler.licence import declared_licence
from recursivemas.release.sbom import page_sbom, system_sbom
from recursivemas.release.source_revision import source_revision
from recursivemas.system.hub import ResolvedModel

ROOT = Path(__file__).parents[2]
PROVENANCE: dict[str, Any] = {
    "source_revision": "c" * 40,
    "checkpoints": {
        "planner": {
            "model": "Qwen/Qwen3-0.6B",
            "revision": "a" * 40,
            "license": "apache-2.0",
            "weights_sha256": "0" * 64,
        },
        "solver": {"model": "solver", "revision": None, "license": None, "weights_sha256": "1" * 64},
    },
}


def components(text: str) -> dict[str, dict[str, Any]]:
    """By name."""
    return {each["name"]: each for each in json.loads(text)["components"]}


def test_system_bill_names_models_packages_and_the_linker() -> None:
    text = system_sbom("walk", PROVENANCE, "3.1.6")
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["version"] == "c" * 40
    found = components(text)
    assert found["Qwen/Qwen3-0.6B"]["purl"] == f"pkg:huggingface/Qwen/Qwen3-0.6B@{'a' * 40}"
    assert found["solver"]["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    for name in ("apache-tvm", "apache-tvm-ffi", "numpy", "tokenizers"):
        assert found[name]["version"] == importlib.metadata.version(name)
    assert "pytest" not in found, "tools of development are not in what is published"
    assert found["emscripten"]["version"] == "3.1.6"
    assert document["dependencies"][0]["dependsOn"] == sorted(each["bom-ref"] for each in document["components"])


def test_system_bill_is_the_same_bytes_each_time() -> None:
    assert system_sbom("walk", PROVENANCE, "3.1.6") == system_sbom("walk", dict(reversed(PROVENANCE.items())), "3.1.6")


def test_every_bill_has_what_attestation_asks_for() -> None:
    """GitHub's action takes a JSON file for CycloneDX if it has these three keys, and refuses it otherwise."""
    texts = [
        system_sbom("walk", PROVENANCE, "3.1.6"),
        system_sbom("walk", PROVENANCE, "3.1.7"),
        page_sbom(ROOT / "web/package-lock.json"),
    ]
    heads = [[json.loads(text)[key] for key in ("bomFormat", "specVersion", "serialNumber")] for text in texts]
    serials = [serial for *_, serial in heads]
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", serial) for serial in serials)
    assert len(set(serials)) == len(texts), "another content is another document"


def test_page_bill_names_what_ships_and_no_tools() -> None:
    found = components(page_sbom(ROOT / "web/package-lock.json"))
    package = json.loads((ROOT / "web/package.json").read_text())
    assert set(package["dependencies"]) <= set(found)
    assert not set(package["devDependencies"]) & set(found)
    for name, version in package["dependencies"].items():
        assert found[name]["version"] == version
        assert len(found[name]["hashes"][0]["content"]) == 128


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: llama3.2\n---\n# Model\n"}, "llama3.2"),
        ({"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n"}, "qwen-research"),
        ({"LICENSE": "Apache License\n  Version 2.0, January 2004\n"}, "apache-2.0"),
        ({"LICENSE.txt": "MIT License\n\nPermission is hereby granted, free of charge, to any person"}, "mit"),
        ({"README.md": "---\n: [broken\n---\n", "LICENSE": "Apache License\nVersion 2.0"}, "apache-2.0"),
        ({"LICENSE": "All rights reserved."}, None),
        ({}, None),
    ],
)
def test_licence_is_what_the_checkpoint_declares(files: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert declared_licence(ResolvedModel(tmp_path, "model")) == expected


def test_every_shipped_agent_declares_the_licence_of_the_repository() -> None:
    folders = [path.parent for path in (ROOT / "systems/agents").glob("*/config.json")]
    assert len(folders) >= 3
    assert {declared_licence(ResolvedModel(folder, folder.name)) for folder in folders} == {"apache-2.0"}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_source_revision_is_a_commit() -> None:
    revision = source_revision()
    if not (ROOT / ".git").exists():
        assert revision is None
    else:
        assert revision is not None and len(revision.removesuffix("-dirty")) == 40
