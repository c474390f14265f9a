"""Finds emscripten, checks its version and runs it."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.errors import InputError

MINIMUM = (3, 1, 6)
_REMEDY = "install it with: sudo apt-get install emscripten"


@dataclass(frozen=True)
class Emscripten:
    """A usable emcc.

    Attributes:
        program: Its path.
        version: E.g. ``3.1.6``.
    """

    program: Path
    version: str

    def run(self, arguments: Sequence[str | Path], doing: str) -> None:
        """Runs emcc and waits.

        Args:
            arguments: What follows ``emcc``.
            doing: What the run does, for the message.

        Raises:
            RuntimeError: Emcc failed; has what it printed.
        """
        command = [str(self.program), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"emcc {self.version} failed while {doing}:\n{result.stderr[-8000:]}")


def find_emscripten() -> Emscripten:
    """Finds emcc on the PATH.

    Raises:
        InputError: There is none, it does not start, or it is older than `MINIMUM`.
    """
    wanted = ".".join(map(str, MINIMUM))
    program = shutil.which("emcc")
    if program is None:
        raise InputError(f"emscripten (emcc {wanted} or newer) is not on the PATH; {_REMEDY}")
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{program} does not start ({error}); {_REMEDY}") from None
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", result.stdout.partition("\n")[0])
    if result.returncode != 0 or match is None:
        said = (result.stderr or result.stdout).strip().partition("\n")[0]
        raise InputError(f"{program} --version printed {said!r} instead of a version; {_REMEDY}")
    if tuple(map(int, match.groups())) < MINIMUM:
        raise InputError(f"emcc {wanted} or newer is needed, but {program} is {match[0]}; {_REMEDY}")
    return Emscripten(Path(program), match[0])
