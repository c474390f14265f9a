"""The table of targets says what its report says, and no target counts as reached that is not."""

import json

from bench.targets import EVIDENCE, GROUPS, PAGE, Target, number, wanted_of, with_table


def test_the_page_has_the_table_of_the_report() -> None:
    page, report = PAGE.read_text("utf-8"), json.loads(EVIDENCE.read_text("utf-8"))
    assert list(report["groups"]) == list(GROUPS)
    assert with_table(page, report) == page


def test_every_row_of_the_report_says_truly_whether_it_is_reached() -> None:
    rows = [row for rows in json.loads(EVIDENCE.read_text("utf-8"))["groups"].values() for row in rows]
    assert rows
    for row in rows:
        made = Target(**{key: row[key] for key in ("what", "earlier", "now", "least", "most", "note")})
        assert made.met == row["met"], row
        assert number(row["now"]) in PAGE.read_text("utf-8")


def test_a_target_is_missed_on_either_side() -> None:
    assert Target("a", None, 7, most=7).met and not Target("a", None, 7.1, most=7).met
    assert Target("a", None, 32, least=32).met and not Target("a", None, 31, least=32).met
    assert wanted_of({"least": 32, "most": None}) == "at least 32"
