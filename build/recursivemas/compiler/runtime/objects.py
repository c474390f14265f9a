"""The compiled runtime: built on first use, afterwards read from the cache."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from recursivemas.compiler.runtime.sources import Sources, find_sources
from recursivemas.compiler.runtime.toolchain import Emscripten, find_emscripten
from recursivemas.system.atomic import scratch_folder
from recursivemas.system.cache import damage, kind_folder, remove, seal
from recursivemas.system.progress import Say, silent

UNITS = ("wasm_runtime", "tvmjs_support", "webgpu_runtime")
# A page waits for the download; the GPU does the work.
FLAGS = ("-Oz", "-std=c++17", "-Wno-ignored-attributes")
PRELUDE = "include/recursivemas/prelude.h"
_INCLUDES = (
    ".",
    "include",
    "3rdparty/tvm-ffi/include",
    "3rdparty/tvm-ffi/3rdparty/dlpack/include",
    "3rdparty/compiler-rt",
)


@dataclass(frozen=True)
class RuntimeObjects:
    """What a model library is linked with.

    Attributes:
        emscripten: The compiler that made the objects and must link them.
        objects: WebAssembly object files.
        key: Name of this build: TVM version, emscripten version, hash of sources and flags.
    """

    emscripten: Emscripten
    objects: tuple[Path, ...]
    key: str


def ensure_runtime(say: Say = silent) -> RuntimeObjects:
    """Returns the runtime's objects; the first call on a machine compiles them (about a minute).

    Several processes may call it at once: one builds, the others wait. Objects that are not as they were written are
    compiled again.

    Args:
        say: Called with one line before long work.

    Raises:
        InputError: Emscripten or the sources are missing or too old, or the sources do not compile.
    """
    emscripten, sources = find_emscripten(), find_sources()
    key = _key(emscripten, sources)
    folder = kind_folder("runtime") / key
    objects = tuple(folder / f"{unit}.o" for unit in UNITS)
    if damage(folder):
        with FileLock(folder.with_name(f"{key}.lock")):
            if wrong := damage(folder):
                if folder.exists():
                    say(f"the cached browser runtime {wrong}; it is compiled again")
                    remove(folder)
                say("compiling the browser runtime (once per machine, about a minute)")
                _build(emscripten, sources, folder)
                seal(folder)
    return RuntimeObjects(emscripten, objects, key)


def runtime_key() -> str:
    """The name that `ensure_runtime` gives its build; nothing is built.

    Raises:
        InputError: Emscripten or the sources are missing or too old.
    """
    return _key(find_emscripten(), find_sources())


def _key(emscripten: Emscripten, sources: Sources) -> str:
    recipe = hashlib.sha256("\n".join([sources.digest(), *FLAGS, PRELUDE, *_INCLUDES, *UNITS]).encode()).hexdigest()
    return f"tvm-{sources.version}-emcc-{emscripten.version}-{recipe[:16]}"


def _build(emscripten: Emscripten, sources: Sources, folder: Path) -> None:
    with scratch_folder(folder.parent, ".building") as scratch:
        root, made = scratch / "tree", scratch / "objects"
        sources.lay_out(root)
        made.mkdir()
        includes = [f"-I{root / each}" for each in _INCLUDES]
        prelude = ("-include", root / PRELUDE)
        # Without this, messages would name the temporary folder of this build instead of a source file.
        naming = f"-ffile-prefix-map={root}=tvm"

        def compile_unit(unit: str) -> None:
            source, target = root / "web/emcc" / f"{unit}.cc", made / f"{unit}.o"
            emscripten.run([*FLAGS, naming, *includes, *prelude, "-c", source, "-o", target], f"compiling {unit}.cc")

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(compile_unit, UNITS))
        # The folder gets its final name only when everything in it is complete.
        made.rename(folder)
