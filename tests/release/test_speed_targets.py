"""Every goal of the work on speed that the report calls reached is reached by today's code too.

Times depend on the machine, so rows that are seconds, or ratios of them, are left to `python -m bench targets`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.targets import EVIDENCE, GROUPS, Target, number, wanted_of

COUNTED = ("positions", "calls", "dispatches", "libraries", "rollouts")
TIMED = ("CPU seconds", "times as fast")
QUICK = ("positions",)


def _is_timed(what: str) -> bool:
    return any(words in what for words in TIMED)


def _missed(recorded: Iterable[dict[str, Any]], now: Iterable[Target]) -> list[str]:
    """A line for each row that was reached, and is not reached, not counted, or wanted differently now."""
    found = {target.what: target for target in now}
    lines = []
    for row in recorded:
        if not row["met"] or _is_timed(row["what"]):
            continue
        target = found.get(row["what"])
        if target is None:
            lines.append(f"{row['what']}: no longer counted")
        elif (target.least, target.most) != (row["least"], row["most"]):
            lines.append(f"{row['what']}: the report wants {wanted_of(row)}; bench/targets.py wants something else")
        elif not target.met:
            lines.append(f"{row['what']}: {number(target.now)}, wanted {wanted_of(row)}")
    return lines


@pytest.mark.parametrize(
    "group", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COUNTED]
)
def test_every_counted_goal_that_was_reached_still_is(group: str, tmp_path: Path) -> None:
    recorded = json.loads(EVIDENCE.read_text("utf-8"))["groups"][group]
    assert any(row["met"] and not _is_timed(row["what"]) for row in recorded)
    assert _missed(recorded, GROUPS[group](tmp_path)) == []


def test_every_group_is_counted_here_or_holds_times_alone() -> None:
    report = json.loads(EVIDENCE.read_text("utf-8"))["groups"]
    assert set(COUNTED) <= set(GROUPS)
    for name in set(GROUPS) - set(COUNTED):
        assert all(_is_timed(row["what"]) for row in report[name]), name


def test_a_goal_that_is_missed_dropped_or_loosened_is_named() -> None:
    row = {"what": "dispatches a layer", "earlier": 16, "now": 7, "least": None, "most": 7, "note": "", "met": True}
    assert _missed([row], [Target("dispatches a layer", 16, 6, most=7)]) == []
    assert _missed([row], [Target("dispatches a layer", 16, 8, most=7)]) == ["dispatches a layer: 8, wanted at most 7"]
    assert _missed([row], []) == ["dispatches a layer: no longer counted"]
    (loosened,) = _missed([row], [Target("dispatches a layer", 16, 7, most=9)])
    assert loosened.startswith("dispatches a layer: the report wants at most 7")
    assert _missed([{**row, "met": False}], []) == []
