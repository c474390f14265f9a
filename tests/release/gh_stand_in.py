"""A stand-in for the `gh` command: releases are folders, faults are a list of standard errors to give in turn.

Run as a program. `GH_STAND_IN` names its folder: `faults.json` (a list of [first words, standard error]), `log.json`,
`attested.json` (options of `gh attestation verify` by sha256).
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Carries out one gh command."""
    root = Path(os.environ["GH_STAND_IN"])
    log = root / "log.json"
    log.write_text(json.dumps([*json.loads(log.read_text()), arguments]))
    faults: list[list[str]] = json.loads((root / "faults.json").read_text())
    for index, (words, error) in enumerate(faults):
        if " ".join(arguments).startswith(words):
            (root / "faults.json").write_text(json.dumps(faults[:index] + faults[index + 1 :]))
            if "half" in error and arguments[1] == "upload":
                _attach(root / arguments[2], Path(arguments[3]), half=True)
            print(error, file=sys.stderr)
            return 1
    if not os.environ.get("GH_TOKEN"):
        print(
            "gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN environment variable.",
            file=sys.stderr,
        )
        return 4
    _, verb, tag, *rest = arguments
    if arguments[0] == "attestation":
        attested = json.loads((root / "attested.json").read_text())
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        digest = hashlib.sha256(Path(tag).read_bytes()).hexdigest()
        if attested.get(digest) != options:
            print("Error: no attestations found for subject", file=sys.stderr)
            return 1
        return 0
    release = root / tag
    if verb == "create":
        release.mkdir()
        title = rest[rest.index("--title") + 1]
        _save(release, {"name": title, "isDraft": "--draft" in rest, "body": Path(rest[-1]).read_text()})
        return 0
    if not release.is_dir():
        print("release not found", file=sys.stderr)
        return 1
    if verb == "view":
        print(json.dumps(_shown(release)))
    elif verb == "upload":
        if rest[-1] != "--clobber" and (release / Path(rest[0]).name).exists():
            print("asset under the same name already exists", file=sys.stderr)
            return 1
        _attach(release, Path(rest[0]))
    elif verb == "edit":
        data = json.loads((release / ".release").read_text())
        if "--notes-file" in rest:
            data["body"] = Path(rest[rest.index("--notes-file") + 1]).read_text()
        _save(release, {**data, "isDraft": data["isDraft"] and "--draft=false" not in rest})
    return 0


def _save(release: Path, data: dict[str, Any]) -> None:
    (release / ".release").write_text(json.dumps(data))


def _shown(release: Path) -> dict[str, Any]:
    assets = []
    for path in sorted(release.iterdir()):
        if path.name == ".release":
            continue
        half = path.name.endswith(".half")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assets.append(
            {
                "name": path.name.removesuffix(".half"),
                "size": path.stat().st_size,
                "state": "starter" if half else "uploaded",
                "digest": f"sha256:{digest}",
            }
        )
    data = json.loads((release / ".release").read_text())
    return {**data, "url": f"https://github.example/releases/{release.name}", "assets": assets}


def _attach(release: Path, file: Path, half: bool = False) -> None:
    (release / f"{file.name}.half").unlink(missing_ok=True)
    if half:
        (release / f"{file.name}.half").write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        shutil.copyfile(file, release / file.name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
