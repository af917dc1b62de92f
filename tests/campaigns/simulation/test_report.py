from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adwright.campaigns.simulation.ab_test import ArmResult, Look, OffPolicy, Verdict
from adwright.campaigns.simulation.report import (
    Logged,
    RealAndExpected,
    Realism,
    SimulationReport,
    Table,
    write_report,
)
from adwright.core.config import from_jsonable
from adwright.metrics.bootstrap import Interval


def arm(name: str, policy: str, taken: int) -> ArmResult:
    rate = Interval(taken / 1000, taken / 1100, taken / 900)
    return ArmResult(
        name, policy, 1000, 600, 900, 4500, 3 * taken, taken, {"fine": 0.98, "coarse": 0.02}, rate,
        rate,
    )  # fmt: skip


VERDICT = Verdict(
    a=arm("A", "A softmax:1", 300),
    b=arm("B", "greedy <b>|x", 450),
    difference=Interval(0.15, 0.05, 0.25),
    adjusted=Interval(0.14, 0.08, 0.2),
    variance_reduction=0.4,
    sample_ratio=0.5,
    looks=(Look(1, Interval(0.2, -0.1, 0.5), 0.4), Look(2, Interval(0.15, 0.02, 0.3), 0.01)),
    stopped=2,
)
REPORT = SimulationReport(
    name="trial",
    model="favourites",
    start=datetime(2024, 5, 20, tzinfo=UTC),
    days=2.0,
    places=5,
    seed=3,
    assumptions=("People are not people & never were.", "A second one."),
    logged=Logged(1800, 12_345, 9000, 2250, 750, 4, 3, 7),
    verdict=VERDICT,
    off_policy=OffPolicy(
        {"IPS": Interval(0.4, 0.3, 0.5)}, Interval(0.45, 0.4, 0.5), 900, 0.99, 512.0, 0.1
    ),
    realism=Realism(
        4.0, RealAndExpected(2944, 2981), RealAndExpected(9.5, 9.4), RealAndExpected(0.1, 0.11)
    ),
    retrained={"recall@50": "0.19"},
    seconds={"drive the service": 12.3},
)


def test_the_report_goes_through_json_unchanged() -> None:
    assert from_jsonable(SimulationReport, json.loads(REPORT.to_json())) == REPORT


def test_the_assumptions_stand_beside_the_numbers_in_every_form(tmp_path: Path) -> None:
    page = write_report(tmp_path / "out", REPORT)
    assert page == tmp_path / "out" / "report.html"
    html = page.read_text()
    assert "People are not people &amp; never were." in html
    assert html.index("never were") < html.index("<table>")
    for text in (REPORT.to_markdown(), (tmp_path / "out" / "report.md").read_text()):
        assert "- People are not people & never were." in text
    assert (
        "A second one." in json.loads((tmp_path / "out" / "report.json").read_text())["assumptions"]
    )


def test_the_page_holds_the_charts_and_escapes_what_others_wrote(tmp_path: Path) -> None:
    html = write_report(tmp_path, REPORT).read_text()
    assert html.count("<svg") == 3
    assert "greedy <b>" not in html
    assert "greedy &lt;b&gt;|x" in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    assert "http" not in html.replace("http://www.w3.org", "")


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    nothing = replace(VERDICT, looks=(), stopped=None)
    bare = replace(REPORT, off_policy=None, realism=None, retrained={}, verdict=nothing)
    titles = [table.title for table in bare.tables()]
    assert len(titles) == 3
    assert len(REPORT.tables()) == 6
    assert "has not decided" in bare.summary
    assert write_report(tmp_path, bare).read_text().count("<svg") == 1


def test_the_summary_and_the_title() -> None:
    assert REPORT.title == "B greedy <b>|x against A softmax:1, on simulated people"
    assert "+0.1400 [+0.0800, +0.2000]" in REPORT.summary
    assert "(+47%, CUPED)" in REPORT.summary
    assert "decided after day 2" in REPORT.summary


@pytest.mark.parametrize(
    "cell",
    [
        *("12,345", "1.01", "0.4000 [0.3000, 0.5000]", "40%", "fine 98%, coarse 2%"),
        *("900 (99.0%)", "10.0%", "after day 2", "0.01"),
    ],
)
def test_numbers_that_a_reader_needs(cell: str) -> None:
    cells = [cell for table in REPORT.tables() for row in table.rows for cell in row]
    assert cell in cells


def test_a_table_in_markdown() -> None:
    table = Table("t", ("a", "b"), (("1|2", "3"),))
    assert table.markdown() == ["| a | b |", "| --- | --- |", "| 1/2 | 3 |"]


def test_every_count_of_the_log_has_a_row_with_its_label() -> None:
    table = next(one for one in REPORT.tables() if "Parquet log" in one.title)
    counts = dataclasses.asdict(REPORT.logged)
    assert [value for _, value in table.rows] == [f"{count:,}" for count in counts.values()]
    assert len({label for label, _ in table.rows}) == len(counts)


def cells(report: SimulationReport, title: str) -> dict[str, tuple[str, ...]]:
    """The rows of the table whose title begins so: their first cell and the others."""
    (table,) = (one for one in report.tables() if one.title.startswith(title))
    assert all(len(row) == len(table.header) for row in table.rows)
    return {row[0]: row[1:] for row in table.rows}


def test_a_policy_is_named_with_its_arm_once() -> None:
    (table,) = (one for one in REPORT.tables() if one.title == "The two arms")
    assert table.header == ("", "A softmax:1", "B greedy <b>|x")
    rows = cells(REPORT, "The two arms")
    assert rows["people"] == ("1,000", "1,000")
    assert rows["clicked"] == ("900", "1,350")
    assert rows["taken"] == ("300", "450")


def test_a_test_that_has_not_decided_says_so_in_the_table() -> None:
    assert cells(REPORT, "How far")["the sequential test decided"] == ("after day 2",)
    open_ = replace(REPORT, verdict=replace(VERDICT, stopped=None))
    assert cells(open_, "How far")["the sequential test decided"] == ("not yet",)
    # Looks were made, so their rows stay.
    assert cells(open_, "How far").keys() == cells(REPORT, "How far").keys()
    without = replace(REPORT, verdict=replace(VERDICT, looks=()))
    assert len(cells(without, "How far")) == len(cells(REPORT, "How far")) - 2


def test_a_base_of_nothing_gives_no_lift() -> None:
    nothing = replace(VERDICT.a, per_person=Interval(0.0, 0.0, 0.0))
    report = replace(REPORT, verdict=replace(VERDICT, a=nothing))
    assert math.isnan(report.verdict.lift.value)
    assert "nan" in cells(report, "How far")["lift, B over A"][0]


def test_the_lift_is_the_difference_over_what_a_took() -> None:
    found, base = VERDICT.lift, VERDICT.a.per_person.value
    for name in ("value", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(VERDICT.adjusted, name) / base)


def test_the_confidence_and_the_days_stand_in_the_summary() -> None:
    report = replace(REPORT, confidence=0.8, days=1.5)
    assert "In 1.5 days" in report.summary
    assert report.summary.endswith("80% intervals throughout.")


def test_markdown_has_a_section_per_table_and_the_assumptions_last() -> None:
    lines = REPORT.to_markdown().splitlines()
    assert lines[0] == f"# {REPORT.title}"
    assert lines[2] == REPORT.summary
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles[:-1] == [table.title for table in REPORT.tables()]
    assert lines[-2:] == [f"- {sentence}" for sentence in REPORT.assumptions]


def test_what_was_trained_again_is_told_as_it_was_said() -> None:
    report = replace(REPORT, retrained={"recall@50": "0.19", "a|b": "1"})
    assert cells(report, "Trained again") == {"recall@50": ("0.19",), "a|b": ("1",)}
    assert "| a/b | 1 |" in report.to_markdown()


def test_a_table_without_rows_keeps_its_header() -> None:
    assert Table("t", ("a",), ()).markdown() == ["| a |", "| --- |"]


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(REPORT, seconds={"drive": math.inf}).to_json()


def test_a_second_report_takes_the_place_of_the_first(tmp_path: Path) -> None:
    bare = replace(REPORT, off_policy=None, verdict=replace(VERDICT, looks=()))
    for seed in (3, 4):
        write_report(tmp_path, replace(bare, seed=seed))
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("report.html", "report.json", "report.md"),
    ]
