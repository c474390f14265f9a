"""Kills at random moments, of every command that writes: `make kills`, and a small part in `make test`.

A command runs once to its end; what it wrote is the reference. Then it is killed again and again at moments that a seed
draws. After each kill, what was there before must be there still, whole, under its own name or where the next run finds
it. At the end of a series the command runs undisturbed and must write what the reference has. The counts are kept in a
file, so that a campaign goes on where it was stopped.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from harness.gguf_files import write_gguf
from harness.tiny_models import make_model
from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.system.cache import cache_folder, damage, seal
from recursivemas.system.files import sha256_of
from recursivemas.system.links_file import load_links
from recursivemas.system.manifest import load_manifest
from recursivemas.system.system import load_system
from tests.release.made_system import make_system
from tests.system.made_release import make_release
from tests.system.test_gguf import LLAMA
from tests.system.test_packages import MODEL, wheel

REPOSITORY = Path(__file__).parents[2]
SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"
TEST_DATA = REPOSITORY / "systems/data/hop-test.jsonl"
KILLS = 20
"""Kills of each command in a campaign."""
SERIES = 10
"""Kills between two runs to the end."""

# Imports everything once, so that each command begins at once. A line has the words of a command, its environment and
# the seconds after which it is killed, null for never; the answer is its status and how long it took.
NURSERY = """
import json, os, signal, sys, time
import torch, transformers, peft, matplotlib.figure
from recursivemas.cli import app
import recursivemas.cli.adapt, recursivemas.cli.build, recursivemas.cli.cache, recursivemas.cli.compile
import recursivemas.cli.eval, recursivemas.cli.fetch, recursivemas.cli.links, recursivemas.cli.publish
import recursivemas.cli.run, recursivemas.cli.site, recursivemas.cli.train, recursivemas.system.import_release
import recursivemas.training.train.trainer, recursivemas.training.train.adapt, recursivemas.training.curves
import recursivemas.training.evaluation.report, recursivemas.release.package, recursivemas.training.link_formats
import recursivemas.training.trace, recursivemas.training.evaluation.tune, recursivemas.training.trained_with
import recursivemas.cli.links_gallery, recursivemas.cli.tune, recursivemas.release.gallery

for line in sys.stdin:
    words, environment, seconds = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.environ.update(environment)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(nothing, stream)
        sys.argv = ["rmas", *words]
        try:
            app.main()
        finally:
            sys.stderr.flush()
        os._exit(0)
    ended = (0, 0)
    while ended == (0, 0) and (seconds is None or time.monotonic() - began < seconds):
        time.sleep(0.002)
        ended = os.waitpid(child, os.WNOHANG)
    if ended == (0, 0):
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    print(json.dumps([ended[1], time.monotonic() - began]), flush=True)
"""


class Nursery:
    """Runs commands, and kills them."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(
        self, words: Sequence[object], environment: Mapping[str, str], seconds: float | None = None
    ) -> tuple[int, float]:
        """Status of a command, and how long it ran."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([[str(word) for word in words], dict(environment), seconds]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ChildProcessError(f"the process that runs the commands ended with status {self._process.wait()}")
        status, spent = json.loads(answer)
        return status, spent

    def close(self) -> None:
        """Ends the process."""
        with suppress(BrokenPipeError):
            self._process.communicate()


State = Callable[[Path], object]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: Of the command line, for a folder to work in.
        out: What it writes in that folder.
        state: What must be equal after every run to the end; raises if the artifact is not whole.
        before: Called with the folder and the number of the kill before each run.
        after: Called with the folder after a run to the end, for more checks.
        fresh: A series starts without an earlier artifact, as training does, and goes on from kill to kill.
        environment: More variables.
    """

    words: Callable[[Path], list[object]]
    out: str
    state: State
    before: Callable[[Path, int], None] = lambda _folder, _number: None
    after: Callable[[Path], None] = lambda _folder: None
    fresh: bool = False
    environment: Callable[[Path], dict[str, str]] = lambda _folder: {}


class LossError(AssertionError):
    """A kill lost something, or what it left breaks the next run."""


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def built(out: Path) -> object:
    """The files of a built system, which match its manifest."""
    for file in load_manifest(out / "system.json").files:
        assert sha256_of(out / file.path) == file.sha256, file.path
    return hashes(out)


def _links(out: Path) -> object:
    links = load_links(out)
    return links.inner, links.outer


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if not key.endswith("_ms")}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _json(out: Path) -> object:
    return _without_times(json.loads(out.read_text()))


def _trained(out: Path) -> object:
    return _links(out / "recursivelink.json")


def _adapter(out: Path) -> object:
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {name: sha256_of(out / name) for name in names}


def _assets(out: Path) -> object:
    for path in out.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    sums = list(out.glob("*.sha256"))
    for line in sums[0].read_text().splitlines() if sums else []:
        digest, _, name = line.partition("  ")
        assert sha256_of(out / name) == digest, name
    return hashes(out)


def _assets_whole(folder: Path) -> None:
    assert [path.name for path in (folder / "assets").iterdir() if path.name.startswith(".")] == []


def _cached(out: Path) -> object:
    return {path.name for path in out.rglob("*") if path.suffix == ".gguf" and damage(path.parent) is None}


def _no_leftovers(folder: Path) -> None:
    found = [path for path in folder.rglob(".*") if any(each in path.name for each in ("partial-", "old-", "ing-"))]
    assert found == [], found


def _emptied_cache(folder: Path, number: int) -> None:
    """Every second run finds no cache."""
    if number % 2 == 0:
        shutil.rmtree(folder / "cache", ignore_errors=True)


def _filled_cache(folder: Path, _number: int) -> None:
    for name in ("a", "b", "c"):
        entry = folder / "cache/agents" / name
        entry.mkdir(parents=True, exist_ok=True)
        for part in range(20):
            (entry / f"{part}.bin").write_bytes(bytes(1000))
        seal(entry)


def _believed(out: Path) -> object:
    """Entries of a cache that would be used; all their files are there."""
    used = [path for path in (out / "agents").iterdir() if path.is_dir() and damage(path) is None]
    assert all(len(list(path.iterdir())) == 20 for path in used)
    return len(used)


def _linked_runtime(folder: Path, number: int, runtime: Path) -> None:
    """A cache with the browser runtime alone before every second run."""
    _emptied_cache(folder, number)
    (folder / "cache").mkdir(exist_ok=True)
    if not (folder / "cache/runtime").exists():
        (folder / "cache/runtime").symlink_to(runtime)


def _copied(folder: Path, _number: int, sources: Sequence[Path]) -> None:
    """Files that the command reads in its own folder, or writes anew."""
    for source in sources:
        if not (folder / source.name).exists():
            shutil.copy(source, folder)


def _site_of_one_owner(folder: Path, _number: int) -> None:
    out = folder / "site"
    if out.is_dir() and not (out / "CNAME").exists():
        (out / "CNAME").write_text("example.org\n")


NO_REVISION = {"GIT_DIR": "/nonexistent"}
"""A build records the revision of this program's source, which a commit between two builds changes."""


def _own_cache(folder: Path) -> dict[str, str]:
    return {"RMAS_CACHE_DIR": str(folder / "cache")}


@dataclass(frozen=True)
class Place:
    """What the commands work on; made once in a folder."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> "Place":
        """Makes a system whose training takes a few steps, role texts, a package, a page, a system and a release."""
        root.mkdir(parents=True, exist_ok=True)
        data = yaml.safe_load(SYSTEM.read_text())
        for agent in data["agents"]:
            agent["model"] = str((SYSTEM.parent / agent["model"]).resolve())
        del data["task"]["data"]
        inner = {"questions": 8, "steps": 20, "batch_size": 16, "text_tokens": 2}
        outer = {"alignment_steps": 10, "steps": 4, "batch_size": 2, "warmup_steps": 0}
        (root / "system.yaml").write_text(yaml.safe_dump({**data, "training": {"inner": inner, "outer": outer}}))
        text = {"prompt": ["<bos> plan", {"hand_off": "a@1"}, "go"], "completion": "b@0", "kind": "hand_off"}
        (root / "texts.jsonl").write_text((json.dumps(text) + "\n") * 40)
        (root / "index").mkdir()
        gguf = write_gguf(make_model(LLAMA), root / "made.gguf", metadata={"general.license": None}).read_bytes()
        (root / "sha256").write_text(wheel(root / "index", {"tiny_model/a/Tiny.Q8_0.gguf": gguf}))
        (root / "page/assets").mkdir(parents=True)
        (root / "page/index.html").write_text("<!doctype html>")
        (root / "page/assets/x.js").write_bytes(bytes(1 << 20))
        make_system(root / "dist/walk")
        make_release(root / "release")
        ensure_runtime()
        return cls(root)

    def commands(self) -> dict[str, Command]:
        """Every command that writes, by name."""
        root, runtime = self.root, (cache_folder() / "runtime").resolve()
        short, few = root / "system.yaml", ["--rounds", 1, "--latent-steps", 1]
        digest = (root / "sha256").read_text()
        with_runtime = partial(_linked_runtime, runtime=runtime)
        planner = REPOSITORY / "systems/agents/planner"
        adapt = ["--data", root / "texts.jsonl", "--steps", 12, "--batch", 4, "--checkpoint-every", 2]
        index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root / "index")}
        return {
            "links convert": Command(
                lambda f: ["links", "convert", LINKS, "--out", f / "links.json", "--dtype", "float32"],
                "links.json",
                _links,
            ),
            "run": Command(
                lambda f: ["run", SYSTEM, "--links", LINKS, "--question", "q", "--trace", f / "x.json", *few],
                "x.json",
                _json,
            ),
            "eval": Command(
                lambda f: ["eval", SYSTEM, "--links", LINKS, "--limit", 2, "--out", f, *few], "eval.json", _json
            ),
            "train": Command(
                lambda f: ["train", short, "--out", f / "run", "--resume", "--checkpoint-every", 2],
                "run",
                _trained,
                fresh=True,
            ),
            "adapt": Command(
                lambda f: ["adapt", planner, *adapt, "--measure-every", 6, "--resume", "--out", f / "adapter"],
                "adapter",
                _adapter,
                after=_no_leftovers,
                fresh=True,
            ),
            "fetch": Command(
                lambda _f: ["fetch", MODEL, "--sha256", digest],
                "cache",
                _cached,
                _emptied_cache,
                _no_leftovers,
                environment=lambda f: {**_own_cache(f), **index},
            ),
            "compile": Command(
                lambda f: ["compile", planner, "-q", "q0f32", "--out", f / "agent"],
                "agent",
                hashes,
                with_runtime,
                _no_leftovers,
                environment=_own_cache,
            ),
            "build": Command(
                lambda f: ["build", SYSTEM, "--links", LINKS, "--out", f / "built"],
                "built",
                built,
                with_runtime,
                _no_leftovers,
                environment=lambda f: {**_own_cache(f), **NO_REVISION},
            ),
            "links gallery": Command(
                lambda f: [
                    *("links", "gallery", f / "gallery.json", "--add", f / "system.yaml"),
                    *("--links", f / LINKS.name, "--license", "apache-2.0", "--agents-changed", "stored anew"),
                ],
                "gallery.json",
                _json,
                partial(_copied, sources=(short, LINKS)),
                _no_leftovers,
            ),
            "tune --write": Command(
                lambda f: [
                    *("tune", f / "system.yaml", "--links", LINKS, "--data", TEST_DATA, "--limit", 4, "--out", f),
                    *("--rounds", 1, "--latent-steps", "1,2", "--no-early-stopping", "--write"),
                ],
                "system.yaml",
                lambda out: yaml.safe_load(out.read_text()),
                partial(_copied, sources=(short,)),
                _no_leftovers,
            ),
            "import-release": Command(
                lambda f: [
                    *("import-release", root / "release", "--style", "distillation", "--task", "code"),
                    *("--out", f / "mine.yaml", "--date", "2026-01-31"),
                ],
                "mine.yaml",
                lambda out: load_system(out).model_dump_json(),
            ),
            "site": Command(
                lambda f: ["site", root / "dist/walk", "--page", root / "page", "--gzip", "--out", f / "site"],
                "site",
                lambda out: {**hashes(out), "CNAME": ""} if (out / "systems/index.json").is_file() else None,
                _site_of_one_owner,
                _no_leftovers,
            ),
            "publish --assets": Command(
                lambda f: ["publish", root / "dist/walk", "--release", "v1", "--assets", f / "assets", "--dry-run"],
                "assets",
                _assets,
                lambda f, number: shutil.rmtree(f / "assets", ignore_errors=True) if number % 2 == 0 else None,
                _assets_whole,
            ),
            "cache clear": Command(
                lambda _f: ["cache", "clear"], "cache", _believed, _filled_cache, environment=_own_cache
            ),
        }


# What these commands leave after a kill may be less than they make, never something broken.
_FROM_NOTHING = ("fetch", "publish --assets", "cache clear")


def kill_series(nursery: Nursery, name: str, command: Command, folder: Path, numbers: Sequence[int]) -> int:
    """Runs a command to its end, kills it at moments that the numbers draw, and runs it to its end again.

    Returns:
        How many runs were killed before they ended.

    Raises:
        LossError: Says what was lost after which kill.
    """
    reference, work = folder / "reference", folder / "work"
    environment = command.environment
    for each in (reference, work):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)

    def run(place: Path, what: str) -> float:
        status, spent = nursery(command.words(place), environment(place))
        if status != 0:
            raise LossError(f"{name}: {what} ends with status {status}")
        return spent

    def checked(place: Path, what: str) -> object:
        try:
            return command.state(place)
        except Exception as error:
            raise LossError(f"{name}: {what}: {type(error).__name__}: {error}") from error

    command.before(reference, 0)
    duration = run(reference, "the first run")
    wanted = checked(reference / command.out, "the first run")
    if not command.fresh:
        shutil.rmtree(work)
        shutil.copytree(reference, work, symlinks=True)
    killed = 0
    for number in numbers:
        command.before(work, number)
        draw = random.Random(f"{name} {number}")
        # Every second kill falls into the last fifth, in which files get their names.
        status, _ = nursery(command.words(work), environment(work), draw.uniform(0.8 * (number % 2), 1.0) * duration)
        if status not in (0, 9):
            raise LossError(f"{name}: kill {number}: the run ended by itself with status {status}")
        killed += status == 9
        out, what = work / command.out, f"after kill {number}"
        if name in _FROM_NOTHING:
            if out.exists():
                checked(out, what)
        elif command.fresh:
            _check_training(name, command, out, wanted, what)
        else:
            kept = [out] if out.exists() else sorted(work.glob(f".{out.name}.old-*"))
            if not kept or checked(kept[0], what) != wanted:
                raise LossError(f"{name}: {what}: {out.name} is not what it was")
            if name == "site" and not (kept[0] / "CNAME").is_file():
                raise LossError(f"{name}: {what}: the user's own file is lost")
    run(work, "the run after the last kill")
    if checked(work / command.out, "the run after the last kill") != wanted:
        raise LossError(f"{name}: the run after the last kill writes something else than the first")
    command.after(work)
    return killed


def _check_training(name: str, command: Command, out: Path, wanted: object, what: str) -> None:
    """A result that is there is the whole one."""
    try:
        found = command.state(out)
    except Exception as error:
        if any(out.glob("recursivelink.json")) or any(out.glob("adapter_model.safetensors")):
            raise LossError(f"{name}: {what}: {error}") from error
        return
    if found != wanted:
        raise LossError(f"{name}: {what}: the result differs from that of an undisturbed run")


def main(arguments: Sequence[str] | None = None) -> int:
    """`make kills`: goes on where it was stopped; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--progress", type=Path, default=REPOSITORY / ".cache/kills.json", help="kills done so far")
    parser.add_argument("--kills", type=int, default=KILLS, help="of each command")
    given = parser.parse_args(arguments)
    path: Path = given.progress
    done: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rmas-kills-") as scratch:
        nursery, place = Nursery(), Place.make(Path(scratch, "place"))
        try:
            # A series of each command in turn, so that a campaign that is stopped has tried all of them.
            commands = place.commands()
            while waiting := [name for name in commands if done.get(name, {}).get("kills", 0) < given.kills]:
                for name in waiting:
                    count = done.setdefault(name, {"series": 0, "kills": 0, "losses": 0})
                    first = SERIES * count["series"]
                    try:
                        count["kills"] += kill_series(
                            nursery, name, commands[name], Path(scratch, "work"), range(first, first + SERIES)
                        )
                    except (ChildProcessError, BrokenPipeError) as error:  # for instance for want of memory
                        print(f"{name}: {error}; the series is repeated", file=sys.stderr, flush=True)
                        nursery = Nursery()
                        continue
                    except LossError as loss:
                        count["losses"] += 1
                        print(loss, file=sys.stderr, flush=True)
                    count["series"] += 1
                    path.write_text(json.dumps(done, indent=1) + "\n")
                kills, losses = (sum(each[key] for each in done.values()) for key in ("kills", "losses"))
                print(f"{kills} kills, {losses} losses", flush=True)
        finally:
            nursery.close()
    return 1 if any(each["losses"] for each in done.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
