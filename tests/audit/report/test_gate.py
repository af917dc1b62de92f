from __future__ import annotations

import pytest

from adwright.audit.report.audit_report import GateBounds, judge
from adwright.audit.report.trials import SellerText
from adwright.core.errors import ConfigError
from tests.audit.report.test_audit_report import report_of
from tests.support.audit.texts import FIELD, praise, quiet


def test_a_tier_above_the_bound_fails() -> None:
    report = report_of(praise("Steel Kettle"), quiet("Teapot"))
    verdict = judge(report, GateBounds(fail_above=99.9))
    assert not verdict.passed
    assert verdict.sentences == ("T0: net advantage 100.0 points is above the bound of 99.9",)
    within = judge(report, GateBounds(fail_above=100))
    assert within.passed
    assert "within the bound of 100" in within.sentences[0]


def test_one_bad_tier_fails_them_all() -> None:
    still = SellerText("Teapot", FIELD, "nothing", "T1")
    assert not judge(report_of(praise("Steel Kettle"), still), GateBounds(20)).passed
    assert judge(report_of(still), GateBounds(20)).passed


def test_surely_looks_at_the_low_end() -> None:
    mixed = [praise("Steel Kettle"), SellerText("Teapot", FIELD, "nothing", "T0")]
    report = report_of(*mixed)
    assert not judge(report, GateBounds(20)).passed
    assert judge(report, GateBounds(20, surely=True)).passed
    assert "low end" in judge(report, GateBounds(20, surely=True)).sentences[0]


def test_bounds_and_reports_that_cannot_be() -> None:
    for bound in (float("nan"), 101.0, -101.0):
        with pytest.raises(ConfigError, match="percentage points"):
            GateBounds(bound)
    with pytest.raises(ConfigError, match="no attack to judge"):
        judge(report_of(quiet("Teapot")), GateBounds(20))
