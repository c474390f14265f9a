#!/usr/bin/env bash
# Gets MLC-LLM's source at the commit that is known to work, outside the repository, and names it to later steps.
set -euo pipefail
COMMIT=79d603f085f50500e9509fa01785ffa7ecfaaa93
if [ -z "${RUNNER_TEMP:-}" ] || [ -z "${GITHUB_ENV:-}" ]; then
  echo "mlc-llm.sh: only for GitHub's runners; elsewhere, clone mlc-ai/mlc-llm and set MLC_LLM_SOURCE_DIR" >&2
  exit 1
fi
git init --quiet "$RUNNER_TEMP/mlc-llm"
cd "$RUNNER_TEMP/mlc-llm"
git fetch --quiet --depth 1 "${MLC_LLM_URL:-https://github.com/mlc-ai/mlc-llm}" "$COMMIT"
git -c advice.detachedHead=false checkout --quiet FETCH_HEAD
echo "MLC_LLM_SOURCE_DIR=$PWD" >> "$GITHUB_ENV"
