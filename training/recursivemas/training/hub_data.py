"""Questions of a hub data set: `owner/name[/config][:split]`, by JSONL files or through the `datasets` library.

Columns are those of our JSONL: question, answer, and optionally choices. An answer that is a number beside choices is
the index of the right one, as many multiple-choice sets have it.
"""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord, load_questions

DEFAULT_SPLIT = "test"


def hub_records(source: str) -> list[QuestionRecord]:
    """Questions of a hub data set.

    Args:
        source: `owner/name[/config][:split]`; the split is `test` when absent.

    Raises:
        InputError: When the data set cannot be fetched, or has no questions and answers.
    """
    path, _, split = source.partition(":")
    name, config = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
    split = split or DEFAULT_SPLIT
    try:
        folder = Path(huggingface_hub.snapshot_download(name, repo_type="dataset", allow_patterns=["*.jsonl"]))
    except Exception as error:  # the hub client raises many kinds; each means that there are no data
        raise InputError(
            f"data {source!r}: neither a file here nor a hub data set within reach: {_first_line(error)}"
        ) from None
    files = sorted(folder.rglob("*.jsonl"))
    files = [file for file in files if split in file.name and config in str(file.relative_to(folder))]
    if files:
        return load_questions(files[0])
    return _from_datasets(source, name, config or None, split)


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
    except Exception as error:  # as above
        raise InputError(f"data {source!r}: {_first_line(error)}") from None
    return records_of_rows(rows, source)


def records_of_rows(rows: Iterable[Mapping[str, Any]], source: str) -> list[QuestionRecord]:
    """Rows of a table as questions; other columns are left out.

    Raises:
        InputError: For a row without question or answer, naming the columns that are there.
    """
    records = []
    for number, row in enumerate(rows, 1):
        if row.get("question") is None or row.get("answer") is None:
            raise InputError(
                f"{source}, row {number}: expected columns question and answer, got {', '.join(row)}; "
                "write them as JSON lines of question and answer"
            )
        choices, answer = row.get("choices"), row["answer"]
        if choices is not None and isinstance(answer, int):
            if not 0 <= answer < len(choices):
                raise InputError(f"{source}, row {number}: answer {answer} is no index of {len(choices)} choices")
            answer = choices[answer]
        data = {"question": str(row["question"]), "answer": str(answer)}
        records.append(QuestionRecord.parse(data | ({"choices": tuple(choices)} if choices else {}), source))
    if not records:
        raise InputError(f"{source}: holds no questions")
    return records


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
