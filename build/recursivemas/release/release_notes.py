"""What a GitHub Release says about one of its systems; the whole model card is attached beside it."""

from recursivemas.release.model_card import licence_of
from recursivemas.release.release_folder import ReleaseFolder


def release_notes(release: ReleaseFolder) -> str:
    """A section of a release's notes, Markdown. A release of several systems has one for each."""
    manifest = release.manifest
    agents = [
        f"- {agent.id}: {agent.model}, licence {licence_of(agent, manifest) or 'not declared'}, {agent.quantization}"
        for agent in manifest.agents
    ]
    lines = [f"## {manifest.name}, {', '.join(release.quantizations)}", ""]
    if manifest.description:
        lines += [manifest.description, ""]
    lines += [*agents, ""]
    lines += [
        f"Files `{release.label}.*`; `{release.label}.md` says how to use them, what was measured and its limits."
    ]
    lines += [f"sha256 of `system.json`, which the page shows: `{release.record.sha256}`.", ""]
    return "\n".join(lines)
