#!/usr/bin/env bash
# Builds the engine and packs it as an npm package into a folder.
set -euo pipefail
out=$(realpath -m "${1:?usage: build-npm.sh FOLDER}")
cd "$(dirname "$0")/../web"
mkdir -p "$out"
npm run --silent build:lib
npm pack ./lib --pack-destination "$out"
