"""Finds emscripten, checks its version and runs it."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.errors import InputError
from recursivemas.system.files import keep_report
from recursivemas.system.programs import install_command

MINIMUM = (3, 1, 6)
_REMEDY = f"install it with: {install_command('emscripten')}"
_WASM_HEADER = b"\0asm\1\0\0\0"


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
        """Runs emcc, waits, and checks that its output is whole.

        Args:
            arguments: What follows ``emcc``; ``-o`` must be among them.
            doing: What the run does, for the message.

        Raises:
            InputError: Emcc did not start, failed, was killed, or wrote no whole WebAssembly file. The message names a
                file with what it printed.
        """
        command = [str(self.program), *map(str, arguments)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise InputError(f"{self.program} does not start ({error.strerror}); {_REMEDY}") from None
        output = Path(command[command.index("-o") + 1])
        if result.returncode < 0:
            reason = f"was killed by signal {-result.returncode} (out of memory?)"
        elif result.returncode != 0:
            reason = f"failed ({_first_error(result.stderr) or f'status {result.returncode}'})"
        elif not is_whole_wasm(output):
            reason = f"wrote no whole file (disk full?): {output.name}"
        else:
            return
        kept = keep_report("emcc", result.stdout + result.stderr, "what it printed")
        raise InputError(f"emcc {self.version} {reason} while {doing}; {kept}")


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


def is_whole_wasm(path: Path) -> bool:
    """Whether a file is WebAssembly whose sections end exactly at its end.

    Source: https://webassembly.github.io/spec/core/binary/modules.html
    """
    if not path.is_file():
        return False
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(len(_WASM_HEADER)) != _WASM_HEADER or size == len(_WASM_HEADER):
            return False
        while stream.read(1):  # the kind of the next section
            length = shift = 0
            while True:
                byte = stream.read(1)
                if not byte or shift > 28:
                    return False
                length |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    break
            if stream.seek(length, os.SEEK_CUR) > size:
                return False
    return True


def _first_error(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[-1] if lines else "")[:300]
