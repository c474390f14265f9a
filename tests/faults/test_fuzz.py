"""A part of `make fuzz`: 20,000 inputs for all readers together, and every input that was once read wrongly."""

from pathlib import Path

import pytest

from tests.faults.fuzzing import Reader, corpus, fuzz, readers

READERS = readers()
INPUTS = 20_000


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_only_input_errors_come_out(reader: Reader, tmp_path: Path) -> None:
    for path in corpus(reader):
        assert reader.faults(path.read_bytes(), tmp_path) is None, path
    shares = sum(each.share for each in READERS)
    fuzz(reader, -(-INPUTS * reader.share // shares), 0, tmp_path)
