#!/usr/bin/env bash
# Installs the system packages that are missing, when it may; otherwise says exactly what to install.
set -euo pipefail

say() { echo "$*" >&2; }

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  say "Python 3.11 or newer is needed; found: $("$python" --version 2>&1 || echo none). Set PYTHON=... to use another."
  exit 1
fi
# web/package.json names the oldest Node for the whole project.
node=$(sed -nE 's/^ *"node": ">=([0-9]+\.[0-9]+)".*/\1/p' "$(dirname "$0")/../web/package.json")
found=$(node --version 2>/dev/null || true)
IFS=. read -r major minor _ <<<"${found#v}.0"
if [ -z "$found" ] || ((major < ${node%.*} || (major == ${node%.*} && minor < ${node#*.}))); then
  say "Node.js $node or newer is needed; found: ${found:-none}. See nodejs.org for your system."
  exit 1
fi
if ! command -v npm >/dev/null; then
  say "npm is needed beside Node.js. Install it with: sudo apt-get install npm, or take both from nodejs.org."
  exit 1
fi

missing=()
command -v emcc >/dev/null || missing+=(emscripten)
# CHROMIUM names another browser of its kind, e.g. where the chromium package is a snap.
command -v "${CHROMIUM:-chromium}" >/dev/null || missing+=(chromium)
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v brew >/dev/null && ! command -v apt-get >/dev/null; then
  case " ${missing[*]} " in *" chromium "*)
    say "Missing: Chromium. Install with: brew install --cask google-chrome, and set CHROMIUM to its program:"
    say "  export CHROMIUM='/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'"
    exit 1 ;;
  esac
  say "Installing with Homebrew: ${missing[*]}"
  brew install --quiet "${missing[@]}" >&2
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo); else as_root=(denied); fi
fi
if ! command -v apt-get >/dev/null || [ "${as_root[*]:-}" = denied ]; then
  say "Missing: ${missing[*]}. Install with: sudo apt-get update && sudo apt-get install ${missing[*]}"
  exit 1
fi
say "Installing Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  say "Could not install: ${missing[*]}. Try: sudo apt-get update && sudo apt-get install ${missing[*]}"
  exit 1
fi
