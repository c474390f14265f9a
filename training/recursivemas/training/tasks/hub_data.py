"""Rows of data files and of hub data sets `owner/name[/config][:split]`, and questions from them.

Columns are those of our JSONL: question (or problem), answer, and optionally choices and group; other columns become
fields. If there are choices, an answer that is a number is the index of the right choice, as in many such sets. JSON
lines, JSON lists and CSV are read directly, other formats through the `datasets` library.
"""

import csv
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.strict import parse_json

DEFAULT_SPLIT = "test"
Row = Mapping[str, Any]
_SHARD = re.compile(r"[-_.]?\d+([-_]of[-_]\d+)?$")


def hub_records(source: str) -> list[QuestionRecord]:
    """Questions of a hub data set.

    Args:
        source: `owner/name[/config][:split]`; the default split is `test`.

    Raises:
        InputError: When the data set cannot be fetched, or has no questions and answers.
    """
    return records_of_rows(hub_rows(source), source)


def hub_rows(source: str, files: Sequence[str] = ()) -> Iterable[Row]:
    """Rows of a hub data set.

    Args:
        source: `owner/name[/config][:split]`; the default split is `test`.
        files: Names of the JSONL files that hold the split, where their names do not say so.

    Raises:
        InputError: When the data set cannot be fetched, or a line of it is broken.
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
    named = [folder / each for each in files]
    found = [file for file in named if file.is_file()] if named else _split_files(folder, config, split)
    if found:
        return (row for file in found for row in file_rows(file))
    return _from_datasets(source, name, config or None, split)


def file_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSONL file, a JSON list of objects, a CSV file, or a file that the `datasets` library reads.

    Raises:
        InputError: The file is missing or broken, which the error says with the line.
    """
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as lines:
                for number, row in enumerate(csv.DictReader(lines), 1):
                    if None in row:
                        raise InputError(f"{path}, row {number}: has more columns than the first line names")
                    yield row
        elif path.suffix == ".json":
            yield from _json_list(path)
        elif path.suffix == ".jsonl":
            yield from _json_rows(path)
        else:
            rows = _datasets(f"{path}: neither JSON nor CSV").load_dataset(
                path.suffix[1:], data_files=str(path), split="train"
            )
            yield from rows
    except FileNotFoundError:
        raise InputError(f"{path}: no such data file; expected .jsonl, .json, .csv or .parquet") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {_first_line(error)}") from None


def _json_list(path: Path) -> list[Row]:
    rows = read_json(path, "data file; expected .jsonl, .json, .csv or .parquet")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects; one object a line has the suffix .jsonl")
    return rows


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


def _json_rows(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = parse_json(line, f"{file}:{number}")
            if not isinstance(row, dict):
                raise InputError(
                    f"{file}:{number}: expected an object with question and answer, got {line.strip()!r:.100}"
                )
            yield row


def _datasets(what: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            f"{what}; other formats are read by the `datasets` library: pip install 'recursivemas[data]'"
        ) from None


def _from_datasets(source: str, name: str, config: str | None, split: str) -> Iterable[Row]:
    library = _datasets(f"data set {name!r} has no JSONL file named like {split!r}")
    try:
        rows: Iterable[Row] = library.load_dataset(name, config, split=split)
    except Exception as error:  # many kinds again
        raise InputError(f"data {source!r}: {_first_line(error)}") from None
    return rows


def records_of_rows(rows: Iterable[Row], source: str) -> list[QuestionRecord]:
    """Rows of a table as questions; columns that no key of a record names become fields.

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
        if choices is not None and not isinstance(choices, list | tuple):
            raise InputError(f"{source}, row {number}: choices: expected a list, got {choices!r:.60}")
        if choices is not None and isinstance(answer, int):
            if not 0 <= answer < len(choices):
                raise InputError(f"{source}, row {number}: answer {answer} is no index of {len(choices)} choices")
            answer = choices[answer]
        data: dict[str, Any] = {**row, "question": str(question), "answer": str(answer)}
        data["choices"] = tuple(choices) if choices else None
        data["group"] = None if row.get("group") is None else str(row["group"])
        records.append(QuestionRecord.of_row(data, f"{source}, row {number}"))
    if not records:
        raise InputError(f"{source}: holds no questions")
    return records


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
