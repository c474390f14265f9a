"""Curves of a training run, drawn by hand while it goes on."""

import json
import sys
from pathlib import Path

import pytest

from recursivemas.training.curves import main


def test_curves_of_a_log_that_is_still_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        {"phase": "outer", "step": step, "loss": 1 / (step + 1), "handoff_gradient/a->b/1": 0.5, "gradient_norm": 1.0}
        for step in range(5)
    ]
    lines.append({"phase": "adapter", "step": 1, "loss": 2.0, "accuracy": 0.5})
    log = "".join(json.dumps(line) + "\n" for line in lines) + '{"phase": "out'
    (tmp_path / "metrics.jsonl").write_text(log, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["curves", str(tmp_path)])
    main()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_of_a_folder_without_a_log_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["curves", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "no metrics.jsonl there; name the --out folder of rmas train" in capsys.readouterr().err
