#!/usr/bin/env bash
# Builds the wheel and the source distribution into a folder. TAG, if it is set, must be v<version>.
set -euo pipefail
out=$(realpath -m "${1:?usage: build-python.sh FOLDER}")
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)
if [ -n "${TAG:-}" ] && [ "$TAG" != "v$version" ]; then
  echo "tag $TAG does not fit the version $version of pyproject.toml; the tag must be v$version" >&2
  exit 1
fi
# The commit's time, so that anyone can build the same bytes again.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
.venv/bin/python -m hatchling build --directory "$out"
