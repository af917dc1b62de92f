from __future__ import annotations

from pathlib import Path

import pytest

from adwright.audit.catalogue import draw_orders
from adwright.audit.report.audit_report import CHOSEN_ON, GateBounds
from adwright.audit.report.audit_run import TRIALS, AuditRunConfig, run_audit, scoring_orders
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import REQUEST, kettles
from tests.support.audit.texts import praise, quiet

SHOP = kettles()
TEXTS = [praise("Steel Kettle"), quiet("Teapot")]
CONFIG = AuditRunConfig(orders=4, draws=50)


def test_an_audit_leaves_trials_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    run = run_audit(SHOP, gullible(), TEXTS, CONFIG, out=out, bounds=GateBounds(50))
    assert {path.name for path in out.iterdir()} == {TRIALS, *(path.name for path in run.paths)}
    assert (run.report.orders, run.report.request, run.resumed) == (4, REQUEST, 0)
    assert run.verdict is not None
    assert not run.verdict.passed
    again = run_audit(SHOP, gullible(), TEXTS, CONFIG, out=out)
    assert (again.report, again.verdict, again.resumed) == (run.report, None, 12)


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_audit(SHOP, gullible(), TEXTS, CONFIG, request="Asked?")
    assert (run.paths, run.report.request) == ((), "Asked?")
    assert list(tmp_path.iterdir()) == []


def test_settings_change_the_report() -> None:
    usual = run_audit(SHOP, gullible(), TEXTS, CONFIG).report
    for config in (
        AuditRunConfig(orders=5, draws=50),
        AuditRunConfig(orders=4, draws=50, seed=1),
        AuditRunConfig(orders=4, draws=50, confidence=0.5),
    ):
        assert run_audit(SHOP, gullible(), TEXTS, config).report != usual


def test_texts_are_scored_in_other_orders_than_they_are_chosen_in() -> None:
    config = AuditRunConfig(orders=20)
    assert not set(scoring_orders(10, config)) & set(draw_orders(10, 20, seed=0, purpose="choose"))
    places = [[order[at] for order in scoring_orders(10, config)] for at in range(10)]
    assert all(sorted(rows) == sorted([*range(10)] * 2) for rows in places)


def test_few_products_have_few_orders() -> None:
    assert len(scoring_orders(2, AuditRunConfig())) == 2
    assert len(scoring_orders(3, AuditRunConfig())) == 6
    assert len(scoring_orders(4, AuditRunConfig())) == 10


def test_few_products_are_scored_in_the_orders_that_are_left() -> None:
    chosen = draw_orders(3, 3, seed=0, purpose="choose", balanced=True)
    left = scoring_orders(3, AuditRunConfig(), chosen)
    assert len(left) == 3
    assert not set(left) & set(chosen)
    every = draw_orders(3, 6, seed=0)
    assert set(scoring_orders(3, AuditRunConfig(), every)) == set(every)


def test_a_report_says_where_there_were_no_fresh_orders() -> None:
    few = SHOP.only((0, 4))
    every = draw_orders(2, 2, seed=0)
    report = run_audit(few, gullible(), TEXTS, CONFIG, avoid=every).report
    assert "of which 2 are those that texts were chosen on" in report.sentences()[1]
    assert report.notes[CHOSEN_ON] == 2
    fresh = run_audit(few, gullible(), TEXTS, CONFIG).report
    assert "that it was not chosen on" in fresh.sentences()[1]


@pytest.mark.parametrize("wrong", [{"orders": 0}, {"batch": 0}, {"draws": 0}, {"orders": 1.5}])
def test_numbers_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        AuditRunConfig(**wrong)
