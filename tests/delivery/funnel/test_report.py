"""The report of a funnel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.delivery.funnel.measure import FunnelLine, FunnelReport, measured_line
from adwright.metrics.bootstrap import Interval

USER = np.array([0, 0, 1, 2, 2, 2])
GAIN = np.array([0.5, 0.1, 0.0, 1.0, 0.2, 0.4])
RULE = np.array([0.4, 0.1, 0.1, 0.7, 0.2, 0.1])


def report() -> FunnelReport:
    rule = measured_line("Item-item", "rule", USER, items=50, recall=RULE, gain=RULE, rule=RULE)
    found = measured_line("past", "source", USER, items=7.5, recall=RULE)
    served = measured_line(
        "served", "served", USER, items=50, recall=GAIN, gain=GAIN, rule=RULE, ms=3.25
    )
    return FunnelReport(
        "It serves.", "test", "Item-item", (rule, found, served), 6, 3, "p", "h", 0, 500, ("a",)
    )


def test_values_are_means_over_visits_and_differences_are_paired() -> None:
    served = report().served
    assert served.ndcg is not None
    assert served.ahead is not None
    assert served.ndcg.value == pytest.approx(GAIN.mean())
    assert served.recall.value == pytest.approx(GAIN.mean())
    assert served.ahead.value == pytest.approx((GAIN - RULE).mean())
    assert served.ahead.low <= served.ahead.value <= served.ahead.high
    same = report().line("Item-item")
    assert same.ahead == Interval(0.0, 0.0, 0.0)
    assert report().line("past", "source").ndcg is None
    with pytest.raises(KeyError):
        report().line("past", "rule")


def test_a_report_is_read_again() -> None:
    found = report()
    assert FunnelReport.from_json(found.to_json()) == found
    for wrong in ("{", json.dumps({"format": 99}), json.dumps({"format": 1, "lines": 3})):
        with pytest.raises(ArtifactError, match="not a report"):
            FunnelReport.from_json(wrong)


def test_the_table_names_the_best_rule() -> None:
    found = report()
    assert found.header()[-2] == "ahead of Item-item"
    rows = found.rows()
    assert [row[:3] for row in rows] == [
        ("Item-item", "rule", "50"),
        ("past", "source", "8"),
        ("served", "served", "50"),
    ]
    assert rows[1][4:] == ("", "", "")
    assert rows[2][-1] == "3.2"
    assert len(found.rows(found.lines[:1])) == 1


def test_a_line_of_no_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind"):
        FunnelLine("x", "other", 1.0, Interval(0, 0, 0))  # type: ignore[arg-type]
