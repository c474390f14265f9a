"""Software bills of materials in CycloneDX JSON: what a built system and the page were made of.

Source: CycloneDX 1.6. The same inputs give the same bytes, so there is no timestamp, and the serial number is derived
from the content (GitHub's attestation refuses a document without one).
"""

import base64
import importlib.metadata
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recursivemas.system.files import read_json
from recursivemas.system.packages import SCHEME, parse_package


def system_sbom(name: str, provenance: Mapping[str, Any], emscripten: str) -> str:
    """The bill of materials of a built system.

    Args:
        name: The system's name.
        provenance: The manifest's provenance: the checkpoints with their revisions, licences and sha256.
        emscripten: Version of the compiler that linked the libraries.

    Returns:
        JSON text: the base models, the Python packages that this program runs with, emscripten, and MLC-LLM if it
        defined a model.
    """
    checkpoints = provenance["checkpoints"]
    components = [_model(*item) for item in checkpoints.items()]
    components += [_adapter(agent_id, each["adapter"]) for agent_id, each in checkpoints.items() if "adapter" in each]
    components += [_python_package(each) for each in _program_packages()]
    components.append(_component(ComponentType.APPLICATION, "emscripten", emscripten))
    definitions = {each.get("versions", {}).get("mlc-llm") for each in checkpoints.values()} - {None}
    components += [_component(ComponentType.LIBRARY, "mlc-llm", version) for version in definitions]
    return _document(name, provenance.get("source_revision"), components)


def page_sbom(lock_file: Path) -> str:
    """The bill of materials of the built page: the npm packages that it needs when it runs.

    Args:
        lock_file: `package-lock.json`.

    Raises:
        InputError: The file is missing or not JSON.
    """
    lock = read_json(lock_file, "npm lock file; 'npm install' writes one")
    others = ("dev", "devOptional", "optional", "peer")
    components = [
        _npm_package(path.rsplit("node_modules/", 1)[1], entry)
        for path, entry in lock["packages"].items()
        if path and not any(entry.get(kind) for kind in others)
    ]
    return _document(lock["name"], lock["version"], components)


def _document(name: str, version: str | None, components: Iterable[Component]) -> str:
    main = Component(type=ComponentType.APPLICATION, name=name, version=version, bom_ref=name)
    unique = {component.bom_ref.value: component for component in components}.values()
    needs = Dependency(main.bom_ref, [Dependency(component.bom_ref) for component in unique])
    bom = Bom(components=unique, metadata=BomMetaData(component=main), dependencies=[needs])
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del document["metadata"]["timestamp"], document["serialNumber"]
    # An entry without `dependsOn` would say that a package needs nothing; here only the main component's are known.
    document["dependencies"] = [each for each in document["dependencies"] if "dependsOn" in each]
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True)).urn
    return json.dumps(document, indent=1) + "\n"


def _component(
    kind: ComponentType,
    name: str,
    version: str | None,
    purl: PackageURL | None = None,
    ref: str | None = None,
    **more: Any,
) -> Component:
    ref = ref or (purl.to_string() if purl else f"{name}@{version}")
    return Component(type=kind, name=name, version=version, purl=purl, bom_ref=ref, **more)


def _licences(declared: str | None) -> list[License]:
    return [LicenseFactory().make_from_string(declared.splitlines()[0][:100])] if declared else []


def _model(agent_id: str, checkpoint: Mapping[str, Any]) -> Component:
    model, revision = checkpoint["model"], checkpoint.get("revision")
    owner, _, name = model.partition("/")
    purl = PackageURL("huggingface", owner, name.partition("/")[0], revision) if revision else None
    if model.startswith(SCHEME):
        purl = PackageURL("pypi", None, *parse_package(model))
    return _component(
        ComponentType.MACHINE_LEARNING_MODEL,
        model,
        revision,
        purl,
        f"model:{agent_id}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checkpoint["weights_sha256"])],
        licenses=_licences(checkpoint.get("license")),
    )


def _adapter(agent_id: str, adapter: Mapping[str, Any]) -> Component:
    name, revision = adapter["adapter"], adapter["revision"]
    owner, _, bare = name.rpartition("/")
    return _component(
        ComponentType.MACHINE_LEARNING_MODEL,
        name,
        revision,
        PackageURL("huggingface", owner, bare, revision) if revision else None,
        f"adapter:{agent_id}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=adapter["sha256"])],
    )


def _python_package(name: str) -> Component:
    metadata, version = importlib.metadata.metadata(name), importlib.metadata.version(name)
    declared = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), None)
    purl = PackageURL("pypi", name=name, version=version)
    return _component(ComponentType.LIBRARY, name, version, purl, licenses=_licences(declared))


def _program_packages() -> set[str]:
    """Normalised names of this program and of every installed package that it needs, extras aside."""
    found: set[str] = set()
    waiting = ["recursivemas"]
    while waiting:
        name = waiting.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # `rmas doctor` names what is missing
        found.add(name)
        waiting += [each for each in _required(requirements) if each not in found]
    return found


def _required(requirements: Iterable[str]) -> Iterable[str]:
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _npm_package(name: str, entry: Mapping[str, Any]) -> Component:
    scope, _, bare = name.rpartition("/")
    algorithm, _, digest = entry.get("integrity", "").partition("-")
    content = base64.b64decode(digest).hex()
    return _component(
        ComponentType.LIBRARY,
        name,
        entry["version"],
        PackageURL("npm", scope, bare, entry["version"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_512, content=content)] if algorithm == "sha512" else [],
        licenses=_licences(entry.get("license")),
    )
