"""The model card that goes with a published system.

Source: the Hub's model card metadata (YAML between `---` lines). Everything in it is read from the manifest; what was
not measured is said not to have been.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from recursivemas.release.release_folder import ReleaseFolder
from recursivemas.system.manifest import AgentRecord, Manifest

PAPER = "https://arxiv.org/abs/2604.25917"

_SCHEMES = {
    "q0f32": "float32, not quantized",
    "q0f16": "float16, not quantized",
    "q4f32_1": "4-bit groups of 32, float32 activations",
    "q4f16_1": "4-bit groups of 32, float16 activations (needs the WebGPU feature `shader-f16`)",
}


def model_card(release: ReleaseFolder, address: str) -> str:
    """The card's text.

    Args:
        release: What is published.
        address: URL of the folder the manifest will be in, without a slash at the end.
    """
    manifest = release.manifest
    parts = [
        f"---\n{yaml.safe_dump(_metadata(manifest), sort_keys=True, allow_unicode=True)}---\n",
        f"# {manifest.name}\n",
        f"{manifest.description}\n" if manifest.description else "",
        f"A [RecursiveMAS]({PAPER}) system for the browser: its agents pass hidden states instead of text, on the "
        "visitor's own GPU. Only the last agent writes text.\n",
        "## Agents\n",
        _agents_table(manifest),
        _graph(manifest),
        "## Links\n",
        _links(manifest),
        "## Measured\n",
        _measured(manifest),
        "## Use it\n",
        _usage(manifest, address),
        "## Limits\n",
        _limits(manifest),
        "## What this was built from\n",
        _provenance(release),
    ]
    return "\n".join(part for part in parts if part)


def licence_of(agent: AgentRecord, manifest: Manifest) -> str | None:
    """The licence of an agent's base model, as its checkpoint declares it; None when it does not."""
    licence = _checkpoint(agent, manifest).get("license")
    return str(licence) if licence else None


def _checkpoint(agent: AgentRecord, manifest: Manifest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = manifest.provenance.get("checkpoints", {}).get(agent.id, {})
    return found


def _metadata(manifest: Manifest) -> dict[str, Any]:
    licences = {licence_of(agent, manifest) for agent in manifest.agents}
    metadata: dict[str, Any] = {
        "library_name": "recursivemas",
        "pipeline_tag": "text-generation",
        "tags": ["recursivemas", "webgpu", "mlc-llm", "web-llm", "multi-agent", f"pattern-{manifest.pattern}"],
    }
    bases = sorted({agent.model for agent in manifest.agents if "/" in agent.model})
    if bases:
        metadata["base_model"] = bases
        metadata["base_model_relation"] = "quantized"
    only = next(iter(licences)) if len(licences) == 1 else None
    metadata["license"] = only or "other"
    if only is None:
        metadata["license_name"] = "licences-of-the-base-models"
    return metadata


def _agents_table(manifest: Manifest) -> str:
    rows = ["| agent | base model | licence | architecture | quantization | hidden size | GPU memory |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for agent in manifest.agents:
        revision = _checkpoint(agent, manifest).get("revision")
        hub = f"[{agent.model}](https://huggingface.co/{agent.model})" if "/" in agent.model else agent.model
        base = f"{hub} at `{revision[:12]}`" if revision else hub
        licence = licence_of(agent, manifest) or "not declared; see the base model"
        rows.append(
            f"| {agent.id} ({agent.role}) | {base} | {licence} | {agent.architecture} | {agent.quantization} "
            f"| {agent.hidden_size} | {agent.memory_bytes / 1e6:.0f} MB |"
        )
    used = sorted({agent.quantization for agent in manifest.agents})
    notes = [f"`{name}`: {_SCHEMES[name]}." for name in used]
    notes += [
        f"Also carried: `{each.quantization}`, {_SCHEMES[each.quantization]}, {each.memory_bytes / 1e6:.0f} MB of GPU "
        "memory; a page takes it where the GPU can run it."
        for each in manifest.variants
    ]
    return "\n".join([*rows, "", *notes, ""])


def _graph(manifest: Manifest) -> str:
    edges = [
        f"- {edge.source} → {edge.target}{' (read in the next round)' if edge.feedback else ''}"
        for edge in manifest.edges
    ]
    steps = f"{manifest.rounds} rounds, {manifest.latent_steps} latent steps a turn, pattern {manifest.pattern}."
    return "\n".join([steps, "", *edges, ""])


def _links(manifest: Manifest) -> str:
    provenance = manifest.provenance.get("links", {})
    if not provenance:
        return f"`{manifest.links}` does not say how its links were trained.\n"
    return f"`{manifest.links}` was trained as follows.\n\n{_bullets(provenance)}\n"


def _measured(manifest: Manifest) -> str:
    measured = manifest.provenance.get("measured", {})
    if not measured:
        return (
            "Neither accuracy nor parity with PyTorch was recorded in this build. `rmas eval` measures the first, the "
            "project's tests the second.\n"
        )
    return "\n".join(_one_report(name, report) for name, report in sorted(measured.items()))


def _one_report(name: str, report: Any) -> str:
    if isinstance(report, Mapping) and report.get("cells"):
        return _evaluation(name, report)
    if isinstance(report, Mapping) and isinstance(report.get("parity"), Mapping):
        return _parity(name, report)
    return f"{_bullets({name: report})}\n"


def _evaluation(name: str, report: Mapping[str, Any]) -> str:
    """A report of `rmas eval` as a table."""
    rows = [
        f"`{name}`: questions of `{report.get('data')}`, seed {report.get('seed')}, in PyTorch, unquantized.",
        "",
    ]
    rows += ["| mode | control | rounds | latent steps | accuracy | 95 % | tokens decoded | questions |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for cell in report["cells"]:
        interval = f"{cell['low']:.3f} to {cell['high']:.3f}"
        rows.append(
            f"| {cell['mode']} | {cell['control']} | {cell['rounds']} | {cell['latent_steps']} "
            f"| {cell['accuracy']:.3f} | {interval} | {cell['decoded_tokens']:.1f} | {cell['questions']} |"
        )
    return "\n".join([*rows, ""])


def _parity(name: str, report: Mapping[str, Any]) -> str:
    """A report of `python -m bench parity` as a table."""
    rows = [f"`{name}`: {report.get('where', 'the browser against PyTorch')}. Questions are from the task's own.", ""]
    rows += ["| quantization | largest error of a hand-off, relative | same answers | as unquantized agents answer |"]
    rows += ["| --- | --- | --- | --- |"]
    for quantization, row in report["parity"].items():
        asked = row["questions"]
        rows.append(
            f"| {quantization} | {row['largest_relative_error']:.1e} | {row['same_answers']} of {asked} "
            f"| {row['same_as_unquantized']} of {asked} |"
        )
    return "\n".join([*rows, ""])


def _usage(manifest: Manifest, address: str) -> str:
    first = manifest.agents[0]
    url = f"{address}/system.json"
    return f"""In the playground: open it with `?system={url}`.

From JavaScript, with the project's engine (`npm run build:lib && npm pack ./lib` in its folder `web` makes the package;
it verifies every file's sha256):

```js
import {{ loadSystem }} from "recursivemas";
const system = await loadSystem("{url}");
const result = await system.run({{ question: "…", rounds: {manifest.rounds} }});
```

In WebLLM, each agent is an ordinary model (text only, without the links):

```js
import {{ CreateMLCEngine }} from "@mlc-ai/web-llm";
const base = "{address}/{first.path.rstrip("/")}";
const engine = await CreateMLCEngine("{first.id}", {{
  appConfig: {{ model_list: [{{ model_id: "{first.id}", model: base, model_lib: "{address}/{first.model_lib}" }}] }},
}});
```

WebLLM looks for weights under `<model>/resolve/main/` unless the address already contains `/resolve/`; on a plain
static host, put that path in front of the agent's files.
"""


def _limits(manifest: Manifest) -> str:
    features = ", ".join(f"`{name}`" for name in manifest.required_features) or "none beyond WebGPU itself"
    context = min(agent.context_window_size for agent in manifest.agents)
    memory = f"{manifest.memory_bytes / 1e6:.0f} MB"
    return f"""- Needs a browser with WebGPU (features: {features}) and about {memory} of GPU memory.
- A turn has at most {context} positions, latent thoughts included.
- Links work with these very agents only; other agents need other links. They were trained with unquantized weights.
- Quantized agents answer differently from their base models. What the base models get wrong or must not be used for
  holds here too; their licences apply.
"""


def _provenance(release: ReleaseFolder) -> str:
    manifest = release.manifest
    versions = manifest.provenance.get("versions", {})
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "not recorded"
    return (
        f"- manifest: `system.json`, sha256 `{release.record.sha256}` (the page shows it)\n"
        f"- versions: {listed}\n"
        f"- {len(manifest.files)} files, {release.size_bytes / 1e6:.1f} MB; the manifest has every file's sha256\n"
    )


def _bullets(values: Mapping[str, Any], indent: str = "") -> str:
    return "\n".join(_bullet_lines(values, indent))


def _bullet_lines(values: Mapping[str, Any], indent: str) -> Iterable[str]:
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield f"{indent}- {key}:"
            yield from _bullet_lines(value, f"{indent}  ")
        elif isinstance(value, (list, tuple)) and len(value) > 16:
            yield f"{indent}- {key}: {len(value)} values in the manifest"
        else:
            yield f"{indent}- {key}: {value}"
