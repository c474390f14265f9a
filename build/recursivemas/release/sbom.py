"""Software bills of materials, in CycloneDX JSON: what a built system and the page were made of.

Source: CycloneDX 1.6. Departures, so that the same inputs give the same bytes: no timestamp, and a serial number that
is made from the content (GitHub's attestation takes no document without one).
"""

import base64
import importlib.metadata
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recursivemas.system.files import read_json

Component = dict[str, Any]

_PROGRAM = "recursivemas"


def system_sbom(name: str, provenance: Mapping[str, Any], emscripten: str | None) -> str:
    """The bill of materials of a built system.

    Args:
        name: The system's.
        provenance: Of its manifest: the checkpoints, with revision, licence and sha256.
        emscripten: Version of the compiler that linked the libraries.

    Returns:
        JSON text: base models, the Python packages this program runs with, and MLC-LLM where it defined a model.
    """
    components = [_model(*item) for item in sorted(provenance["checkpoints"].items())]
    components += [_python_package(each) for each in sorted(_program_packages())]
    if emscripten is not None:
        components.append({"type": "application", "name": "emscripten", "version": emscripten})
    definitions = {each.get("versions", {}).get("mlc-llm") for each in provenance["checkpoints"].values()} - {None}
    components += [_mlc_llm(version) for version in sorted(definitions)]
    return _document(name, str(provenance.get("source_revision") or ""), components)


def page_sbom(lock_file: Path) -> str:
    """The bill of materials of the built page: npm packages that are not for development only.

    Args:
        lock_file: `package-lock.json`.

    Raises:
        InputError: When it is missing or not JSON.
    """
    lock = read_json(lock_file, "npm lock file; 'npm install' writes one")
    others = ("dev", "devOptional", "optional", "peer")
    packages = {
        path: each for path, each in lock["packages"].items() if path and not any(each.get(kind) for kind in others)
    }
    components = [_npm_package(path.rsplit("node_modules/", 1)[1], each) for path, each in sorted(packages.items())]
    return _document(lock["name"], lock["version"], components)


def _document(name: str, version: str, components: list[Component]) -> str:
    main: Component = {
        "type": "application",
        "bom-ref": name,
        "name": name,
        **({"version": version} if version else {}),
    }
    for component in components:
        component.setdefault("bom-ref", component.get("purl", component["name"]))
    unique = {component["bom-ref"]: component for component in components}
    content = {
        "version": 1,
        "metadata": {"component": main},
        "components": list(unique.values()),
        "dependencies": [{"ref": name, "dependsOn": sorted(unique)}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}"}
    return json.dumps({**head, **content}, indent=1) + "\n"


def _licences(declared: str | None) -> list[dict[str, Any]]:
    if not declared:
        return []
    # `expression` takes SPDX expressions only; what packages write is not always one.
    spdx = re.fullmatch(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*", declared)
    return [{"expression": declared}] if spdx else [{"license": {"name": declared.splitlines()[0][:100]}}]


def _model(agent_id: str, checkpoint: Mapping[str, Any]) -> Component:
    model, revision = str(checkpoint["model"]), checkpoint.get("revision")
    component: Component = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{agent_id}",
        "name": model,
        "hashes": [{"alg": "SHA-256", "content": checkpoint["weights_sha256"]}],
    }
    if revision:
        component |= {"version": revision, "purl": f"pkg:huggingface/{model}@{revision}"}
    if checkpoint.get("license"):
        component["licenses"] = [{"license": {"name": checkpoint["license"]}}]
    return component


def _mlc_llm(version: str) -> Component:
    return {"type": "library", "bom-ref": f"mlc-llm:{version}", "name": "mlc-llm", "version": version}


def _python_package(name: str) -> Component:
    metadata = importlib.metadata.metadata(name)
    version = importlib.metadata.version(name)
    declared = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), None)
    component: Component = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
    if licences := _licences(declared):
        component["licenses"] = licences
    return component


def _program_packages() -> set[str]:
    """This program and every installed package it needs, extras aside, by normalised name."""
    found: set[str] = set()
    waiting = [_PROGRAM]
    while waiting:
        name = waiting.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # required on another platform or Python only
        found.add(name)
        waiting += [each for each in _required(requirements) if each not in found]
    return found


def _required(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        if "extra ==" not in requirement and (match := re.match(r"[A-Za-z0-9._-]+", requirement)):
            yield re.sub(r"[-_.]+", "-", match.group()).lower()


def _npm_package(name: str, entry: Mapping[str, Any]) -> Component:
    purl = f"pkg:npm/{name.replace('@', '%40')}@{entry['version']}"
    component: Component = {"type": "library", "name": name, "version": entry["version"], "purl": purl}
    if licences := _licences(entry.get("license")):
        component["licenses"] = licences
    algorithm, _, digest = str(entry.get("integrity", "")).partition("-")
    if algorithm == "sha512":
        component["hashes"] = [{"alg": "SHA-512", "content": base64.b64decode(digest).hex()}]
    return component
