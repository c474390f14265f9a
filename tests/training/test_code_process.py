"""The limited process for code: programs that try to break each limit."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from recursivemas.system.errors import InputError
from recursivemas.training.evaluation import code_process
from recursivemas.training.evaluation.code_process import Limits, refusal, require_limits, run_code

pytestmark = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))
MB = 1 << 20


def test_code_reads_and_writes_its_streams_and_its_own_folder() -> None:
    done = run_code("open('/tmp/a', 'w').write('kept'); print(input(), open('/tmp/a').read(), end='')", "given\n")
    assert (done.stdout, done.exit_code, done.stopped) == ("given kept", 0, None)
    failed = run_code("raise SystemExit(3)")
    assert failed.exit_code == 3
    assert "No such file" in run_code("open('/tmp/a')").stderr, "nothing is left of an earlier run"


def test_code_has_no_network() -> None:
    done = run_code(
        "import socket\n"
        "for host in ('127.0.0.1', '1.1.1.1', '::1'):\n"
        "    family = socket.AF_INET6 if ':' in host else socket.AF_INET\n"
        "    try: socket.socket(family).connect((host, 80)); print('connected')\n"
        "    except OSError: pass\n"
        "try: print(socket.getaddrinfo('example.org', 80))\n"
        "except OSError: pass\n"
    )
    assert (done.stdout, done.exit_code) == ("", 0)


def test_code_sees_no_files_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setenv("SECRET", "secret")
    places = ["/etc/passwd", "/etc/hostname", "/proc/1/environ", "/sys", str(tmp_path / "secret"), str(Path(__file__))]
    interpreter = [Path(each) for each in (sys.prefix, sys.base_prefix)]
    places += [str(each) for each in Path.home().iterdir() if not any(way.is_relative_to(each) for way in interpreter)]
    done = run_code(f"import os\nprint([each for each in {places} if os.path.exists(each)], os.environ.get('SECRET'))")
    assert done.stdout == "[] None\n"


def test_code_inherits_no_open_files(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        done = run_code("import os\nprint([os.fstat(n) and n for n in range(3)])\nos.fstat(3)")
    assert done.stdout == "[0, 1, 2]\n"
    assert "Bad file descriptor" in done.stderr


def test_code_writes_nowhere_but_in_tmp() -> None:
    done = run_code(
        "import os, sys\n"
        "for folder in ('/', '/usr', '/dev', '/old', '/proc', '/program', sys.prefix, sys.base_prefix):\n"
        "    try: open(f'{folder}/written', 'w'); print(folder)\n"
        "    except OSError: pass\n"
        "try: os.remove('/program/main.py'); print('removed')\n"
        "except OSError: pass\n"
    )
    assert (done.stdout, done.exit_code) == ("", 0)


def test_code_gains_no_privileges() -> None:
    done = run_code(
        "import os, subprocess\n"
        "for step in (lambda: os.chroot('/tmp'), lambda: os.mknod('/tmp/disk', 0o60600, 0x100), lambda: os.nice(-5)):\n"
        "    try: step(); print('did it')\n"
        "    except OSError: pass\n"
        "mount = subprocess.run(['mount', '-t', 'tmpfs', 'none', '/tmp'], capture_output=True).returncode\n"
        "print(mount != 0)\n"
    )
    assert done.stdout == "True\n"


def test_code_that_never_ends_is_stopped() -> None:
    began = time.monotonic()
    assert run_code("while True: pass", limits=Limits(wall_s=0.5)).stopped == "time"
    assert run_code("import time; time.sleep(60)", limits=Limits(wall_s=0.5)).stopped == "time"
    spun = run_code("while True: pass", limits=Limits(cpu_s=1))
    assert (spun.stopped, spun.exit_code) == (None, 137)
    assert time.monotonic() - began < 9


def test_code_that_takes_memory_fails() -> None:
    done = run_code("held = bytearray(300 << 20)", limits=Limits(memory_bytes=200 * MB))
    assert "MemoryError" in done.stderr
    assert done.exit_code == 1


def test_code_that_writes_large_files_fails() -> None:
    limits = Limits(file_bytes=MB)
    assert "File too large" in run_code("open('/tmp/a', 'wb').write(bytes(2 << 20))", limits=limits).stderr
    many = "for n in range(9):\n    with open(f'/tmp/{n}', 'wb') as file: file.write(bytes(1 << 20))"
    assert "No space left" in run_code(many, limits=limits).stderr


def test_code_that_forks_without_end_is_stopped() -> None:
    bomb = (
        "import os\ncount = 0\nwhile True:\n"
        "    try: child = os.fork()\n"
        "    except OSError: break\n"
        "    if child == 0:\n        import time; time.sleep(60)\n"
        "    count += 1\nprint(count)\n"
    )
    done = run_code(bomb, limits=Limits(processes=5))
    assert done.stdout == "4\n"
    forever = run_code("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", limits=Limits(wall_s=1))
    assert forever.stopped == "time"
    assert _processes("/program/main.py") == []


def test_code_leaves_no_children() -> None:
    done = run_code(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(71)'], start_new_session=True)\n"
        "print('done')\n"
    )
    assert (done.stdout, done.exit_code) == ("done\n", 0)
    assert _processes("time.sleep(71)") == []


def test_code_that_prints_without_end_is_stopped() -> None:
    done = run_code("while True: print('x' * 1000)", limits=Limits(output_bytes=10_000))
    assert (done.stopped, done.exit_code, len(done.stdout)) == ("output", None, 10_000)


def _processes(text: str) -> list[list[str]]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(text in part for part in line):
            found.append(line)
    return found


def test_limits_that_cannot_be_enforced_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_process, "_NAMESPACES", tuple(n for n in code_process._NAMESPACES if n != "--net"))
    refusal.cache_clear()
    try:
        with pytest.raises(InputError, match=r"^tool 'python' is refused: .* the limits on network$"):
            require_limits("tool 'python'")
        monkeypatch.setattr(code_process, "_COMMANDS", ("unshare", "no-such-command"))
        refusal.cache_clear()
        assert str(refusal()).endswith("missing: no-such-command")
    finally:
        monkeypatch.undo()
        refusal.cache_clear()
