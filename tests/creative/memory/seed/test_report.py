from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.costs import StepCost
from adwright.creative.memory.seed.measures import Measured, TextMeasures
from adwright.creative.memory.seed.report import RoundResult, SeedReport, write_report
from adwright.creative.memory.seed.writer import TuneCost
from adwright.metrics.bootstrap import Interval

TEXTS = TextMeasures(0.8, {"cut": 3, "long": 5}, 0.5, 0.9, 0.1, 0.95, 1.0, 7.5)


def measured(at: int, own: float, second: float) -> Measured:
    return Measured(
        at,
        ("a", "b"),
        Interval(own, own - 0.1, own + 0.1),
        Interval(second, second - 0.1, second + 0.1),
        (2.0, 2.0 + at),
        (1.0, 1.0 + second),
        (2.0, 1.0),
        (1.0, 1.0),
        1.0,
        0.4,
        TEXTS,
    )


def result(at: int, own: float, second: float) -> RoundResult:
    kept = 5 * (at > 0)
    return RoundResult(
        at, measured(at, own, second), 10 * (at > 0), kept, 30, TuneCost(900, 2.0, 3.1)
    )


def report_of(own: float = 0.4, second: float = 0.3) -> SeedReport:
    return SeedReport(
        end="rounds",
        chosen=1,
        rounds=(result(0, 0.0, 0.0), result(1, own, second)),
        before=measured(0, 0.0, 0.0),
        after=measured(1, own, second),
        costs=(StepCost(0, "tune", tuned=900, cpu_seconds=90.0), StepCost(1, "write", 7, 8)),
        about={"writer": "w<b>", "own": "o", "second": "s", "ads": {"labelled": 9}},
    )


def test_the_table_has_a_line_a_round() -> None:
    lines = report_of().text().splitlines()
    assert lines[0].split()[:3] == ["round", "own", "judge"]
    assert "+40.0% (+30.0% to +50.0%)" in lines[2]
    assert "5 of 10" in lines[2]
    assert "All rounds are done." in lines
    assert lines[-1] == "Cost: 90 s of CPU; tokens: 7 read, 8 written, 900 tuned on."


def test_both_judges_and_the_rise_are_told() -> None:
    told = " ".join(report_of().findings())
    assert "+40.0% (+30.0% to +50.0%) by the own judge, +30.0%" in told
    assert "Beyond the writer of before the rounds: +15.0%" in told
    assert "estimates of judges" in told
    assert "Do not use" not in told


def test_a_gain_that_one_judge_sees_is_called_by_its_name() -> None:
    found = report_of(0.4, 0.0)
    assert found.hacked
    assert "Do not use these ads" in found.text()
    assert not report_of(0.0, 0.0).hacked


def test_diversity_is_compared_with_before() -> None:
    found = report_of()
    assert found.after is not None
    less = replace(found, after=replace(found.after, texts=replace(TEXTS, distinct2=0.45)))
    assert less.distinct2_ratio == pytest.approx(0.5)
    assert "is 0.50 of what it was" in less.text()
    assert replace(found, before=None).distinct2_ratio is None


def test_a_run_without_an_end_has_no_result() -> None:
    found = replace(report_of(), end="budget", before=None, after=None)
    assert found.rise is None
    assert "goes on from here" in found.text()
    with pytest.raises(ConfigError, match="end"):
        replace(found, end="tired")


def test_originals_that_score_nothing_have_no_gain() -> None:
    one = result(1, 0.1, 0.1)
    nothing = replace(one, measured=replace(one.measured, own=None))
    assert "originals score 0" in nothing.line()


def test_files_hold_it_all(tmp_path: Path) -> None:
    write_report(report_of(), tmp_path, samples=[("Brand <x>", "old", "new")])
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["rise"]["value"] == pytest.approx(0.15)
    assert from_jsonable(RoundResult, told["rounds"][1]) == report_of().rounds[1]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "w&lt;b&gt;" in page
    assert "Brand &lt;x&gt;" in page
    assert "long 5, cut 3" in page
    assert "<script" not in page


def test_a_page_without_rounds_is_a_page(tmp_path: Path) -> None:
    empty = replace(report_of(), rounds=(), before=None, after=None, end="budget")
    write_report(empty, tmp_path)
    assert "<svg" not in (tmp_path / "report.html").read_text()
