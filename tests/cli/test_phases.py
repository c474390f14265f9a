import pytest

from recursivemas.cli import phases


def test_progress_is_a_line_now_and_then_where_the_output_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(phases.time, "monotonic", lambda: now[0])
    with phases.shown_phases() as start:
        report = start("inner planner")
        for step in range(1, 101):
            now[0] += 1
            report(step, 100)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [f"inner planner: {n} of 100, after {n} s" for n in (30, 60, 90)]


def test_progress_with_bars_shows_them_where_the_output_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(phases.time, "monotonic", lambda: now[0])
    with phases.shown_phases(bars=True) as start:
        report = start("math500")
        for step in range(1, 81):
            now[0] += 0.5
            report(step, 80)
    assert capsys.readouterr().err.splitlines() == [
        "math500: [###############.....] 60 of 80, after 30 s, 10 s left",
        "math500: [####################] 80 of 80, after 40 s, 0 s left",
    ]
