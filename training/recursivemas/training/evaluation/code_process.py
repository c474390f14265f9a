"""Runs Python code that nobody has read in a process of its own, with limits that the system enforces.

`unshare` gives the process namespaces of its own: no network device but a dead loopback, no process but its own, and a
file system that holds the interpreter, read-only, and an empty `/tmp`. `prlimit` bounds what it uses, and `setpriv`
takes its privileges. When the first process ends, the kernel ends every other one. No system call is filtered.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from recursivemas.system.errors import InputError

_COMMANDS = ("unshare", "setpriv", "prlimit", "mount", "umount", "pivot_root", "timeout", "env", "sh")
_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_NOBODY = 65534
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# One thread each: numerical libraries otherwise start one for every core, against the limit on processes.
_ENVIRONMENT = ("HOME=/tmp", "LANG=C.UTF-8", f"PATH={_PATH}", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1")
# For root, `unshare` needs no user namespace, and the process becomes `nobody`. Any other user becomes root of a user
# namespace, and gives up that root's privileges before the code runs.
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
# `sh` stays the namespace's first process: what it started ends with it.
_SETUP = """
set -e
root=$1 program=$2 folder_bytes=$3 wall=$4; shift 4
mount --make-rprivate /
mount -t tmpfs -o nosuid,nodev,size=1m,mode=755 none "$root"
show() {  # binds a file or folder at its own path, read-only with everything that is mounted below it
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}"; : > "$root$1"; fi
    mount --rbind "$1" "$root$1"
    while read -r _ _ _ _ point _; do
        case $point in "$root$1" | "$root$1"/*) mount -o remount,bind,ro,nosuid,nodev "$point" ;; esac
    done < /proc/self/mountinfo
}
mkdir -p "$root/tmp"  # first, because the interpreter may lie below /tmp
mount -t tmpfs -o "nosuid,nodev,size=$folder_bytes,mode=1777" none "$root/tmp"
while [ "$1" != -- ]; do
    if [ -L "$1" ]; then ln -s "$(readlink "$1")" "$root$1"; elif [ -e "$1" ]; then show "$1"; fi
    shift
done
shift
mkdir -p "$root/dev" "$root/program" "$root/old" "$root/proc"
for device in null zero urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$program" "$root/program"
mount -o remount,bind,ro,nosuid,nodev "$root/program"
mount --rbind /proc "$root/proc"  # umount reads it
mount -o remount,bind,ro,nosuid,nodev "$root"
cd "$root"
pivot_root . old
umount --lazy /old
umount --lazy /proc
cd /tmp
set +e
timeout -s KILL "$wall" "$@"
"""
# What the process reports of itself before it is trusted.
_PROBE = """
import json, os, resource, socket

def refused(action):
    try:
        action()
    except OSError:
        return True
    return False

limits = (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)
with open("/tmp/written", "w") as file:
    file.write("x")
print(json.dumps({
    "network": all(name == "lo" for _, name in socket.if_nameindex())
        and refused(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
    "files": refused(lambda: open("/written", "w")) and refused(lambda: open("/usr/written", "w"))
        and not any(map(os.path.exists, ("/etc/passwd", "/proc/self", "/sys", "/old/etc"))),
    "processes": os.getsid(0) == 0 and refused(lambda: os.setuid(0) or os.chroot("/tmp")),
    "rlimits": [resource.getrlimit(each)[1] for each in limits],
}))
"""


@dataclass(frozen=True)
class Limits:
    """What a process may use.

    Attributes:
        wall_s: Time by the clock, its start included.
        cpu_s: CPU seconds of each of its processes.
        memory_bytes: Address space of each of its processes.
        file_bytes: The largest file; the private folder `/tmp` holds four times as much.
        processes: Processes and threads at once.
        output_bytes: Standard output, and as much standard error.
    """

    wall_s: float = 10.0
    cpu_s: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    processes: int = 8
    output_bytes: int = 64 << 10


@dataclass(frozen=True)
class CodeRun:
    """What a process did.

    Attributes:
        stdout: What it printed, at most `output_bytes`.
        stderr: The same for standard error.
        exit_code: Its exit status; None if it was stopped.
        stopped: The limit for which it was stopped from outside. Those that the kernel watches end in an exit status.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    stopped: Literal["time", "output"] | None = None


_DEFAULT = Limits()


def run_code(code: str, stdin: str = "", limits: Limits = _DEFAULT) -> CodeRun:
    """Runs a program within limits; whatever it does, this returns.

    Call `require_limits` first: it checks that the limits hold on this system.

    Args:
        code: A Python program. It has the interpreter's packages, `/tmp`, and nothing of the caller's.
        stdin: What it reads from standard input.
        limits: What it may use.
    """
    with tempfile.TemporaryDirectory(prefix="rmas-code-") as folder:
        base = Path(folder).resolve()
        program, root = base / "program", base / "root"
        program.mkdir(mode=0o755)
        root.mkdir()
        (program / "main.py").write_text(code, encoding="utf-8", errors="replace")
        return _run(_command(root, program, limits), stdin, limits)


def require_limits(what: str) -> None:
    """Refuses what runs code, before anything runs.

    Args:
        what: Who asks, as in "tool 'python'".

    Raises:
        InputError: Names the limits that this system cannot enforce.
    """
    if (reason := refusal()) is not None:
        raise InputError(f"{what} is refused: {reason}")


@functools.cache
def refusal() -> str | None:
    """Why code cannot be run within limits here, in one line; None if it can. It tries them once."""
    if sys.platform != "linux":
        return f"code is limited by Linux namespaces (network, files), and this is {sys.platform}"
    if missing := [name for name in _COMMANDS if shutil.which(name, path=_PATH) is None]:
        return f"limits on network, files and processes need the commands of util-linux; missing: {', '.join(missing)}"
    wanted = Limits(wall_s=30)
    done = run_code(_PROBE, limits=wanted)
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.stopped or done.exit_code}"])[-1]
        return f"limits on network and files need namespaces, which this system does not give ({said})"
    limits = [wanted.cpu_s, wanted.memory_bytes, wanted.file_bytes, _process_limit(wanted)]
    names = ("CPU time", "memory", "file size", "number of processes")
    loose = [name for name in ("network", "files", "processes") if not found[name]]
    loose += [name for name, want, got in zip(names, limits, found["rlimits"], strict=True) if want != got]
    return f"this system does not enforce the limits on {', '.join(loose)}" if loose else None


def _command(root: Path, program: Path, limits: Limits) -> list[str]:
    user = ["--user", "--map-root-user"] if os.geteuid() else []
    drop = [] if os.geteuid() else ["--reuid", str(_NOBODY), "--regid", str(_NOBODY), "--clear-groups"]
    # The linker's cache tells where libraries are; nothing else of /etc is there.
    shown = [*_SYSTEM_FOLDERS, "/etc/ld.so.cache", *_interpreter_folders()]
    return [
        *("unshare", *user, *_NAMESPACES, "sh", "-c", _SETUP, "sh"),
        *(str(root), str(program), str(4 * limits.file_bytes), str(limits.wall_s + 1)),
        *(*shown, "--"),
        *("setpriv", *drop, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
        *("prlimit", f"--cpu={limits.cpu_s}", f"--as={limits.memory_bytes}", f"--fsize={limits.file_bytes}"),
        *(f"--nproc={_process_limit(limits)}", "--nofile=64", "--core=0"),
        *("env", "-i", *_ENVIRONMENT, sys.executable, "-I", "/program/main.py"),
    ]


def _process_limit(limits: Limits) -> int:
    """Without root, `unshare`, `sh` and `timeout` count as processes of the same user."""
    return limits.processes + (3 if os.geteuid() else 0)


def _interpreter_folders() -> list[str]:
    """Where the interpreter and its packages are, outside the system's folders."""
    folders = {str(Path(each).absolute()) for each in (sys.prefix, sys.base_prefix, sys.base_exec_prefix)}
    folders.add(str(Path(sys.executable).resolve().parent.parent))
    return sorted(each for each in folders if not Path(each).is_relative_to("/usr") and each != "/")


def _run(command: list[str], stdin: str, limits: Limits) -> CodeRun:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": _PATH},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    collected: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    too_much = threading.Event()

    def read(name: str, stream: IO[bytes]) -> None:
        while piece := stream.read1(1 << 16):  # type: ignore[attr-defined]
            collected[name] += piece
            if len(collected[name]) > limits.output_bytes:
                too_much.set()
                process.kill()
                return

    def write(stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError), stream:
            stream.write(stdin.encode("utf-8", "replace"))

    threads = [
        threading.Thread(target=read, args=("stdout", process.stdout), daemon=True),
        threading.Thread(target=read, args=("stderr", process.stderr), daemon=True),
        threading.Thread(target=write, args=(process.stdin,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    late = False
    try:
        code: int | None = process.wait(limits.wall_s)
    except subprocess.TimeoutExpired:
        late, code = True, None
    finally:
        process.kill()  # with it, the kernel ends every process of the namespace, and with them the pipes
        process.wait()
        for thread in threads:
            thread.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
    texts = {name: data[: limits.output_bytes].decode("utf-8", "replace") for name, data in collected.items()}
    stopped: Literal["time", "output"] | None = "output" if too_much.is_set() else "time" if late else None
    return CodeRun(texts["stdout"], texts["stderr"], None if stopped else code, stopped)
