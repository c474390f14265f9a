"""Prints the version that pyproject.toml pins for a package, so that it is written down in one place only."""

import pathlib
import re
import sys

name = sys.argv[1]
text = (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
match = re.search(rf'"{re.escape(name)}==([^"]+)"', text)
if match is None:
    sys.exit(f"pyproject.toml does not pin {name}")
print(match.group(1))
