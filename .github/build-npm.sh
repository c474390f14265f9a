#!/usr/bin/env bash
# Builds the engine and packs it as an npm package into a folder. TAG, if it is set, must be v<version>.
set -euo pipefail
out=$(realpath -m "${1:?usage: build-npm.sh FOLDER}")
cd "$(dirname "$0")/../web"
version=$(node --print 'require("./package.json").version')
if [ -n "${TAG:-}" ] && [ "$TAG" != "v$version" ]; then
  echo "tag $TAG does not fit the version $version of web/package.json; the tag must be v$version" >&2
  exit 1
fi
mkdir -p "$out"
npm run --silent build:lib
npm pack ./lib --pack-destination "$out"
