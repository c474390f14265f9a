"""The browser runtime: toolchain errors, caching, sources. The real compiler runs in the parity tests."""

import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest

from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.runtime.objects import PRELUDE
from recursivemas.compiler.runtime.sources import OURS, find_sources
from recursivemas.compiler.runtime.toolchain import Emscripten
from recursivemas.system.errors import InputError

OBJECT = b"\0asm\1\0\0\0" + b"\0\2ab"
"""WebAssembly with one section, which means nothing."""

# Stands in for the compiler only: writes its output file and notes that it was called.
FAKE = r"""#!/bin/bash
if [ "$1" = --version ]; then echo "emcc (Emscripten gcc/clang-like replacement) {version} (deadbeef)"; exit 0; fi
echo "$@" >> "{log}"
{behaviour}
for last; do :; done
printf '\0asm\1\0\0\0\0\2ab' > "$last"
{after}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TVM_SOURCE_DIR", raising=False)
    return tmp_path / "cache"


def _emcc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str = "3.1.6", behaviour: str = "", after: str = ""
) -> Path:
    """Puts a fake emcc on the PATH; returns its log."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir(exist_ok=True)
    log.touch()
    program = folder / "emcc"
    program.write_text(FAKE.format(version=version, log=log, behaviour=behaviour, after=after), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_ensure_runtime_without_emcc_says_what_to_install(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"emscripten .*3\.1\.6.*apt-get install emscripten"):
        ensure_runtime()
    assert not cache.exists()


@pytest.mark.parametrize("version", ["3.1.5", "2.0.34", "1.39.20"])
def test_ensure_runtime_refuses_an_older_emcc(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    _emcc(tmp_path, monkeypatch, version)
    with pytest.raises(InputError, match=rf"3\.1\.6 or newer is needed, .* is {version}") as caught:
        ensure_runtime()
    assert "\n" not in str(caught.value)


def test_ensure_runtime_refuses_an_emcc_that_does_not_start(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _emcc(tmp_path, monkeypatch)
    program = log.with_name("bin") / "emcc"
    program.write_text("#!/bin/sh\necho 'no python here' >&2; exit 3\n", encoding="utf-8")
    with pytest.raises(InputError, match="no python here"):
        ensure_runtime()


@pytest.mark.parametrize("version", ["3.1.6", "3.1.64", "4.0.1"])
def test_ensure_runtime_compiles_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    log = _emcc(tmp_path, monkeypatch, version)
    said: list[str] = []
    first = ensure_runtime(said.append)
    assert [path.read_bytes() for path in first.objects] == [OBJECT] * 3
    assert len(said) == 1
    compiled = log.read_text(encoding="utf-8")
    assert compiled.count(" -c ") == 3
    assert len(re.findall(rf" -include \S+/{re.escape(PRELUDE)} ", compiled)) == 3
    assert ensure_runtime(said.append) == first
    assert log.read_text(encoding="utf-8") == compiled
    assert len(said) == 1


def test_ensure_runtime_compiles_again_for_another_emcc(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _emcc(tmp_path, monkeypatch, "3.1.6")
    first = ensure_runtime()
    _emcc(tmp_path, monkeypatch, "3.1.7")
    second = ensure_runtime()
    assert first.key != second.key
    assert all(path.is_file() for path in (*first.objects, *second.objects))


@pytest.mark.parametrize(
    ("behaviour", "after", "words"),
    [
        (
            "echo 'x.cc:1: error: no such luck' >&2; exit 1",
            "",
            r"failed \(x.cc:1: error: no such luck\) while",
        ),
        ("exit 7", "", r"failed \(status 7\)"),
        ("kill -KILL $$", "", r"was killed by signal 9 \(out of memory\?\)"),
        ("exit 0", "", r"wrote no whole file \(disk full\?\): webgpu_runtime.o"),
        ("", 'truncate -s 0 "$last"', "wrote no whole file"),
        ("", 'truncate -s 11 "$last"', "wrote no whole file"),
        ("", 'echo "<html>" > "$last"', "wrote no whole file"),
    ],
)
def test_ensure_runtime_leaves_nothing_when_compilation_fails(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, after: str, words: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    only = 'case "$*" in *webgpu*) {};; esac'.format
    _emcc(tmp_path, monkeypatch, behaviour=only(behaviour or ":"), after=only(after or ":"))
    with pytest.raises(InputError, match=words) as caught:
        ensure_runtime()
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in (cache / "runtime").iterdir()] == [".lock"]
    _emcc(tmp_path, monkeypatch)
    assert all(path.is_file() for path in ensure_runtime().objects)


def test_emcc_that_vanished_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"emcc does not start \(No such file or directory\); install it with"):
        Emscripten(tmp_path / "emcc", "3.1.6").run(["-o", tmp_path / "x.o"], "linking")


def _build_and_count(_: int) -> str:
    return ensure_runtime().key


def test_ensure_runtime_builds_once_for_two_processes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _emcc(tmp_path, monkeypatch, behaviour="sleep 0.5")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keys = pool.map(_build_and_count, range(2), chunksize=1)
    assert keys[0] == keys[1]
    assert log.read_text(encoding="utf-8").count(" -c ") == 3


def test_sources_prefer_what_tvm_has_and_fill_the_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = find_sources()
    assert wheel.files["include/tvm/support/io.h"] == OURS / "include/tvm/support/io.h"
    tree = tmp_path / "tvm"
    for name in ("web/emcc/wasm_runtime.cc", "web/emcc/tvmjs_support.cc", "include/tvm/support/io.h"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("// theirs", encoding="utf-8")
    monkeypatch.setenv("TVM_SOURCE_DIR", str(tree))
    source = find_sources()
    assert source.version == "source"
    assert source.files["include/tvm/support/io.h"] == tree / "include/tvm/support/io.h"
    assert source.files["include/tvm/support/serializer.h"] == OURS / "include/tvm/support/serializer.h"
    assert source.files["web/emcc/tvmjs_support.cc"] == OURS / "web/emcc/tvmjs_support.cc"
    before = source.digest()
    (tree / "include/tvm/support/io.h").write_text("// changed", encoding="utf-8")
    assert find_sources().digest() != before


def test_sources_refuse_a_tree_without_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_SOURCE_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"wasm_runtime\.cc.*TVM_SOURCE_DIR"):
        find_sources()


def test_sources_are_laid_out_so_that_relative_includes_work(tmp_path: Path) -> None:
    find_sources().lay_out(tmp_path)
    runtime = tmp_path / "src/runtime"
    assert Path(os.path.normpath(runtime / "../support/bytes_io.h")).is_file()
    for unused in ("src/runtime/rpc/rpc_module.cc", "src/runtime/extra/contrib/sort/sort.cc"):
        assert (tmp_path / unused).stat().st_size == 0
    registry = tmp_path / "3rdparty/tvm-ffi/include/tvm/ffi/reflection/registry.h"
    assert registry.resolve().is_relative_to(OURS)
    assert (tmp_path / PRELUDE).is_file()
    assert (tmp_path / "3rdparty/tvm-ffi/src/ffi/object.cc").stat().st_size > 0
