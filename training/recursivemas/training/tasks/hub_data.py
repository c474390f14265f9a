"""Questions of a hub data set `owner/name[/config][:split]`, from its JSONL files or through the `datasets` library.

Columns are those of our JSONL: question (or problem), answer, and optionally choices and group; other columns are
ignored. If there are choices, an answer that is a number is the index of the right choice, as in many such sets.
"""

import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord

DEFAULT_SPLIT = "test"
_SHARD = re.compile(r"[-_.]?\d+([-_]of[-_]\d+)?$")


def hub_records(source: str) -> list[QuestionRecord]:
    """Questions of a hub data set.

    Args:
        source: `owner/name[/config][:split]`; the default split is `test`.

    Raises:
        InputError: When the data set cannot be fetched, or has no questions and answers.
    """
    path, _, split = source.partition(":")
    name, config = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
    split = split or DEFAULT_SPLIT
    try:
        folder = Path(huggingface_hub.snapshot_download(name, repo_type="dataset", allow_patterns=["*.jsonl"]))
    except Exception as error:  # the hub's client raises many kinds; each means that there are no data
        raise InputError(
            f"data {source!r}: neither a file nor an available hub data set: {_first_line(error)}"
        ) from None
    files = _split_files(folder, config, split)
    if files:
        return records_of_rows((row for file in files for row in _json_rows(file)), source)
    return _from_datasets(source, name, config or None, split)


def _split_files(folder: Path, config: str, split: str) -> list[Path]:
    """The JSONL files of a split, shards in order; a file with exactly the split's name is preferred."""

    def base(file: Path) -> str:
        return _SHARD.sub("", file.stem)

    found = [
        file
        for file in folder.rglob("*.jsonl")
        if _has_part(file.stem, split) and (not config or _has_part(file.relative_to(folder).as_posix(), config))
    ]
    found.sort(key=lambda file: (base(file) != split, file))
    return [file for file in found if (file.parent, base(file)) == (found[0].parent, base(found[0]))]


def _has_part(name: str, part: str) -> bool:
    """Whether a part is one of a name's words: `test` is one in `my_test-0`, but not in `latest`."""
    return re.search(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", name) is not None


def _json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{file}:{number}: not valid JSON: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{file}:{number}: expected an object with question and answer, got {line.strip()!r}")
            yield row


def _from_datasets(source: str, name: str, config: str | None, split: str) -> list[QuestionRecord]:
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            f"data set {name!r} has no JSONL file named like {split!r}; its other formats are read by the `datasets` "
            "library: pip install 'recursivemas[data]'"
        ) from None
    try:
        rows = library.load_dataset(name, config, split=split)
    except Exception as error:  # many kinds again
        raise InputError(f"data {source!r}: {_first_line(error)}") from None
    return records_of_rows(rows, source)


def records_of_rows(rows: Iterable[Mapping[str, Any]], source: str) -> list[QuestionRecord]:
    """Rows of a table as questions; other columns are ignored.

    Raises:
        InputError: For a row without question or answer, with the names of its columns.
    """
    records = []
    for number, row in enumerate(rows, 1):
        question = row.get("problem") if row.get("question") is None else row["question"]
        if question is None or row.get("answer") is None:
            raise InputError(
                f"{source}, row {number}: expected columns question (or problem) and answer, got {', '.join(row)}; "
                "write them as JSON lines of question and answer"
            )
        choices, answer = row.get("choices"), row["answer"]
        if choices is not None and isinstance(answer, int):
            if not 0 <= answer < len(choices):
                raise InputError(f"{source}, row {number}: answer {answer} is no index of {len(choices)} choices")
            answer = choices[answer]
        data: dict[str, Any] = {"question": str(question), "answer": str(answer)}
        if choices:
            data["choices"] = tuple(choices)
        if row.get("group") is not None:
            data["group"] = str(row["group"])
        records.append(QuestionRecord.parse(data, f"{source}, row {number}"))
    if not records:
        raise InputError(f"{source}: holds no questions")
    return records


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
