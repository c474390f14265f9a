"""The notes of a GitHub Release about one of its systems; the whole model card is attached to the release."""

from recursivemas.release.model_card import licence_of
from recursivemas.release.release_folder import ReleaseFolder


def release_notes(release: ReleaseFolder) -> str:
    """The section of a release's notes about one system, in Markdown."""
    manifest = release.manifest
    agents = [
        f"- {agent.id}: {agent.model}, licence {licence_of(agent, manifest) or 'not declared'}, {agent.quantization}"
        for agent in manifest.agents
    ]
    lines = [f"## {manifest.name}, {', '.join(release.quantizations)}", ""]
    if manifest.description:
        lines += [manifest.description, ""]
    lines += [*agents, ""]
    lines += [f"Files: `{release.label}.*`. How to use them, measurements and limits: `{release.label}.md`."]
    lines += [f"The page shows the sha256 of `system.json`: `{release.record.sha256}`.", ""]
    return "\n".join(lines)
