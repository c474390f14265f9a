"""The runtime's C++ sources, laid out like TVM's repository.

The apache-tvm wheel has the sources under the folder names of that repository but lacks some headers, and tvm-ffi is a
wheel of its own. `lay_out` makes one tree of links from both; `headers/` beside this file supplies what is missing and
replaces what a page does not need.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.errors import InputError

OURS = Path(__file__).with_name("headers")
_FFI = Path("3rdparty/tvm-ffi")
_FOLDERS = ("include", "src/runtime", "src/support", "web/emcc", "3rdparty/compiler-rt")
_FFI_FOLDERS = ("include", "src", "3rdparty/dlpack/include")
_SUFFIXES = (".h", ".cc")
# A page has no use for these sources: a remote test runner, sorting on the CPU, tests. An empty file adds nothing.
_EMPTY = ("src/runtime/rpc/", "src/runtime/extra/contrib/sort/", "3rdparty/tvm-ffi/src/ffi/testing/")
# Our files take the place of the tree's.
_REPLACED = ("web/emcc/tvmjs_support.cc", "3rdparty/tvm-ffi/include/tvm/ffi/reflection/registry.h")
# Our file takes the place of the tree's and includes that one under another name.
_EXTENDED = "src/runtime/vm/paged_kv_cache.cc"
_ORIGINAL = "src/runtime/vm/tvm_paged_kv_cache.cc"


@dataclass(frozen=True)
class Sources:
    """Every file of the tree.

    Attributes:
        version: TVM's version, or ``source`` if the user named a tree.
        files: Real file by its path in the tree; None stands for an empty file.
    """

    version: str
    files: dict[str, Path | None]

    def digest(self) -> str:
        """sha256 over names and contents, hexadecimal."""
        total = hashlib.sha256()
        for name, path in sorted(self.files.items()):
            total.update(name.encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes() if path else b"").digest())
        return total.hexdigest()

    def lay_out(self, root: Path) -> None:
        """Makes the tree under `root` from symbolic links, so that relative includes find our headers too."""
        for name, path in self.files.items():
            link = root / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if path is None:
                link.touch()
            else:
                link.symlink_to(path.resolve())


def find_sources() -> Sources:
    """Finds the sources in the tree that ``TVM_SOURCE_DIR`` names, or else in the installed wheels.

    Raises:
        InputError: Some of the runtime's sources are missing.
    """
    named = os.environ.get("TVM_SOURCE_DIR")
    tvm = Path(named).expanduser() if named else _package("tvm")
    version = "source" if named else importlib.metadata.version("apache-tvm")
    ffi = tvm / _FFI if (tvm / _FFI / "src").is_dir() else _package("tvm_ffi")
    for path, remedy in (
        (tvm / "web/emcc/wasm_runtime.cc", "name TVM's source tree in TVM_SOURCE_DIR" if named else "run: make setup"),
        (ffi / "src/ffi/object.cc", "run: make setup"),
    ):
        if not path.is_file():
            raise InputError(f"{path}: this source file of the browser runtime is missing; {remedy}")
    files: dict[str, Path | None] = {}
    files.update(_files(OURS, _FOLDERS))
    files.update(_files(tvm, _FOLDERS))
    files[_ORIGINAL] = files[_EXTENDED]
    files.update({f"{_FFI.as_posix()}/{name}": path for name, path in _files(ffi, _FFI_FOLDERS)})
    files.update({name: OURS / name for name in (*_REPLACED, _EXTENDED)})
    files.update({name: None for name in files if name.startswith(_EMPTY) and name.endswith(".cc")})
    return Sources(version, files)


def _package(name: str) -> Path:
    """The folder of an installed package; does not import it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the Python package {name} is not installed; run: make setup")
    return Path(spec.submodule_search_locations[0])


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in _SUFFIXES and path.is_file():
                yield path.relative_to(root).as_posix(), path
