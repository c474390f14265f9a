"""A results file that grows question by question, survives being killed, and is shared by several processes.

`run.json` says what was asked; `results.jsonl` has a line for each question, in order. While they work, processes
append to `results.<rank>.jsonl`; the next start, or the end, merges these. Each line has a digest of itself; one that
was cut off or changed is dropped and asked again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, write_text_atomic
from recursivemas.system.progress import Say, silent
from recursivemas.system.strict import parse_json

RUN_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
Line = Mapping[str, Any]


def digest(value: object) -> str:
    """A short name for what a run depends on: sha256 of its JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Results:
    """The results of one run in a folder.

    Args:
        folder: Gets the files.
        identity: What the results depend on; JSON values.
        rank: Number of this process.
        say: Called if lines are damaged.

    Raises:
        InputError: The folder holds the results of another run.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], rank: int = 0, say: Say = silent) -> None:
        self.folder, self.rank, self._say = folder, rank, say
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        path = folder / RUN_FILE
        if not path.exists():
            return
        read = read_json(path, "run file of rmas eval")
        found = read if isinstance(read, dict) else {}
        differing = [key for key in self.identity if found.get(key) != self.identity[key]]
        if differing:
            here, there = (json.dumps(each.get(differing[0])) for each in (self.identity, found))
            raise InputError(
                f"{folder}: holds results of another run: {differing[0]} is {_cut(there)}, here it is {_cut(here)}; "
                "choose another --out, or delete the folder"
            )

    def gather(self) -> None:
        """Merges what processes have written; call it in one process while no other one writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = self.lines()
        write_text_atomic(self.folder / RUN_FILE, json.dumps(self.identity, indent=1, ensure_ascii=False) + "\n")
        write_text_atomic(self.folder / RESULTS_FILE, "".join(map(_text, lines)))
        for part in self._parts():
            part.unlink()

    def lines(self) -> list[Line]:
        """Every result so far, in the order of the questions."""
        found: dict[int, Line] = {}
        for path in (self.folder / RESULTS_FILE, *self._parts()):
            if path.exists():
                texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
                lines = [_parsed(text) for text in texts if text]
                whole = [line for line in lines if line is not None]
                if len(whole) < len(lines):
                    count = f"{len(lines) - len(whole)} damaged line{'s' if len(lines) - len(whole) > 1 else ''}"
                    self._say(f"{path}: {count} left out; what is missing is asked again")
                for line in whole:
                    found.setdefault(line["index"], line)
        return [found[index] for index in sorted(found)]

    def append(self, lines: Iterable[Line]) -> None:
        """Writes results through to the disk."""
        with (self.folder / f"results.{self.rank}.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(map(_text, lines))
            file.flush()
            os.fsync(file.fileno())

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("results.*.jsonl"))


def _text(line: Line) -> str:
    """A line of the file, with its digest at the end."""
    return json.dumps({**line, "sha256": digest(line)}, ensure_ascii=False) + "\n"


def _parsed(text: str) -> Line | None:
    """What a line of the file says, without its digest; None if it is not as it was written."""
    try:
        line = parse_json(text, RESULTS_FILE)
    except InputError:
        return None
    if not isinstance(line, dict) or not isinstance(line.get("index"), int):
        return None
    own = {key: value for key, value in line.items() if key != "sha256"}
    return own if line.get("sha256") == digest(own) else None


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
