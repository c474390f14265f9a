#!/usr/bin/env bash
# On macOS and Windows: installs the package with what it needs, and runs `rmas doctor`, `compile` and `run`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v python3 || command -v python)
case "$(uname -s)" in
  Darwin)
    brew install --quiet emscripten
    bin=.venv/bin
    ;;
  MINGW* | MSYS*)
    version=3.1.74
    git clone --quiet --depth 1 --branch "$version" https://github.com/emscripten-core/emsdk "$RUNNER_TEMP/emsdk"
    "$RUNNER_TEMP/emsdk/emsdk" install "$version"
    "$RUNNER_TEMP/emsdk/emsdk" activate "$version"
    # shellcheck disable=SC1091 # it comes with emsdk
    source "$RUNNER_TEMP/emsdk/emsdk_env.sh"
    python=$(command -v python)
    bin=.venv/Scripts
    ;;
  *)
    echo "this script is for macOS and Windows; use make elsewhere" >&2
    exit 1
    ;;
esac
"$python" -m venv .venv
install=("$bin/python" -m pip install --quiet)
"${install[@]}" --no-deps --require-hashes --requirement requirements/everything.txt
"${install[@]}" --requirement requirements/torch.txt
"${install[@]}" --no-deps --no-build-isolation --editable .
"$bin/rmas" doctor
"$bin/rmas" compile systems/agents/planner --quantization q0f32 --out dist/planner
"$bin/rmas" run systems/hop-sequential.yaml --links systems/links/hop-sequential.recursivelink.json \
  --question "a>b b~c c-d d>e e~f f-g g>h h~i i-j j>k k~l l-a ? a@3"
