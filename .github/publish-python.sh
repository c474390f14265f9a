#!/usr/bin/env bash
# Sends the files of a folder to PyPI in the name of this workflow (trusted publishing): no token is kept anywhere.
# uv asks GitHub for a proof of identity, PyPI answers with a token for some minutes, and uv uploads with that.
# UV_PUBLISH_URL names another index, such as the stand-in of the tests.
set -euo pipefail
folder=$(realpath "${1:?usage: publish-python.sh FOLDER}")
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
if [ ! -x "$uv" ]; then
  tools=$(mktemp -d)
  trap 'rm -rf "$tools"' EXIT
  # The version and the hashes of the lock.
  sed -n '/^uv==/,/[^\\]$/p' requirements/everything.txt > "$tools/uv.txt"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/python" -m pip install --quiet --no-deps --require-hashes --requirement "$tools/uv.txt"
  uv=$tools/venv/bin/uv
fi
"$uv" publish --trusted-publishing always "$folder"/*.whl "$folder"/*.tar.gz
