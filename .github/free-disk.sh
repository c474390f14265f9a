#!/usr/bin/env bash
# Removes what GitHub's runner image carries and this project never uses, so that large checkpoints fit. On a runner only.
set -euo pipefail
if [ "${GITHUB_ACTIONS:-}" != true ]; then
  echo "free-disk.sh: only for GitHub's runners, it removes system folders" >&2
  exit 1
fi
df -h / | tail -n 1
sudo rm -rf /usr/share/dotnet /usr/local/lib/android /opt/ghc /usr/local/.ghcup /usr/share/swift
df -h / | tail -n 1
