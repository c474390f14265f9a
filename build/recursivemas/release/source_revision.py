"""The revision of this program's own source."""

import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def source_revision() -> str | None:
    """The commit, with `-dirty` if tracked files differ from it; None outside a clone or without git."""
    root = Path(__file__).resolve().parents[3]
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None if result.returncode == 0 else None
