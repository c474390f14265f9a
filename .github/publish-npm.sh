#!/usr/bin/env bash
# Publishes the packed engine of a folder on npm in the name of this workflow (trusted publishing), with a provenance
# statement that anyone can check: no token is kept anywhere. NPM_FLAGS=--dry-run only shows what would be sent.
set -euo pipefail
folder=$(realpath "${1:?usage: publish-npm.sh FOLDER}")
provenance=--provenance
case " ${NPM_FLAGS:-} " in *" --dry-run "*) provenance= ;; esac
for package in "$folder"/*.tgz; do
  # shellcheck disable=SC2086 # flags are words
  npm publish "$package" --access public $provenance ${NPM_FLAGS:-}
done
