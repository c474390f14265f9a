#!/usr/bin/env bash
# Checks the import contracts of pyproject.toml. import-linter reads a package from one folder only, so the subpackages
# of all source roots are copied into one first.
set -euo pipefail
cd "$(dirname "$0")/.."
merged=$(mktemp -d)
trap 'rm -rf "$merged"' EXIT
mkdir "$merged/recursivemas"
cp -r */recursivemas/* "$merged/recursivemas/"
PYTHONPATH="$merged" .venv/bin/lint-imports --no-cache "$@"
