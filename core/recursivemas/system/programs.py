"""How to install the programs that this project needs beside Python packages, with the system's package manager."""

import sys
from collections.abc import Mapping

_LINUX, _MACOS, _WINDOWS = "linux", "darwin", "win32"

_COMMANDS: Mapping[str, Mapping[str, str]] = {
    "python": {
        _LINUX: "sudo apt-get install python3 python3-venv",
        _MACOS: "brew install python@3.13",
        _WINDOWS: "winget install Python.Python.3.13",
    },
    "node": {
        _LINUX: "sudo apt-get install nodejs npm (or nodejs.org, if that is too old)",
        _MACOS: "brew install node",
        _WINDOWS: "winget install OpenJS.NodeJS.LTS",
    },
    "emscripten": {
        _LINUX: "sudo apt-get install emscripten",
        _MACOS: "brew install emscripten",
        # winget has no emscripten; this is the way of its documentation.
        _WINDOWS: "winget install Git.Git; git clone https://github.com/emscripten-core/emsdk; "
        "emsdk\\emsdk install latest; emsdk\\emsdk activate --permanent latest; then open a new terminal",
    },
    "chromium": {
        _LINUX: "sudo apt-get install chromium",
        _MACOS: "brew install --cask google-chrome; "
        "export CHROMIUM='/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'",
        _WINDOWS: "winget install Google.Chrome; then set CHROMIUM to the path of chrome.exe",
    },
}


def install_command(program: str, platform: str = sys.platform) -> str:
    """The command that installs a program: apt on Linux, Homebrew on macOS, winget on Windows.

    Args:
        program: `python`, `node`, `emscripten` or `chromium`.
        platform: As `sys.platform` says it.
    """
    commands = _COMMANDS[program]
    return commands.get(platform, commands[_LINUX])
