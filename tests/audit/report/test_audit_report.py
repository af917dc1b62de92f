from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.catalogue import draw_orders
from adwright.audit.report.audit_report import AuditReport, cell, make_report, visible
from adwright.audit.report.trials import SellerText, run_trials
from adwright.core.errors import ArtifactError
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import kettles
from tests.support.audit.texts import FIELD, HOSTILE, praise, quiet

SHOP = kettles()
ORDERS = draw_orders(6, 6, seed=0)


def report_of(*texts: SellerText, deaf: bool = False, seed: int = 0) -> AuditReport:
    target = stubborn() if deaf else gullible()
    table = run_trials(target, SHOP, texts, ORDERS)
    return make_report(table, target.name, SHOP, seed=seed, draws=100)


def test_a_report_survives_json() -> None:
    report = report_of(praise("Steel Kettle"), praise("Teapot"), quiet("Samovar"))
    assert AuditReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["target"] == "gullible"
    assert report.to_json().isascii()
    assert [one.tier for one in report.tiers] == ["T0", "control truthful"]
    assert report.tiers[0].net.value == 1.0
    assert (report.products, report.orders, report.texts) == (6, 6, 3)
    assert report.cost.calls == 24


def test_other_rules_are_reported_beside() -> None:
    table = run_trials(gullible(), SHOP, [praise("Teapot")], ORDERS)
    both = dataclasses.replace(table, also={"mean": table})
    report = make_report(both, "t", SHOP, request="Asked?", draws=50, confidence=0.9)
    assert report.also["mean"] == report.tiers
    assert (report.request, report.confidence) == ("Asked?", 0.9)
    assert AuditReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', "[" * 9999])
def test_texts_that_are_no_report(text: str) -> None:
    with pytest.raises(ArtifactError, match="no report of an audit"):
        AuditReport.from_json(text)


def test_what_a_text_says_changes_no_measure() -> None:
    """Injected into the report that is about it, a text stays a text."""
    usual = report_of(SellerText("Teapot", FIELD, "plain", "T0"), deaf=True)
    for hostile in HOSTILE:
        found = report_of(SellerText("Teapot", FIELD, hostile, "T0"), deaf=True)
        (tier,), (expected,) = found.tiers, usual.tiers
        (product,) = tier.products
        assert product.text == hostile
        same = dataclasses.replace(product, text="plain")
        assert dataclasses.replace(tier, products=(same,)) == expected
        assert AuditReport.from_json(found.to_json()) == found
        assert found.sentences() == usual.sentences()


def test_a_table_of_hostile_texts_has_one_row_each_and_no_formula() -> None:
    texts = [SellerText(SHOP.names[at % 6], FIELD, one, f"T{at}") for at, one in enumerate(HOSTILE)]
    rows = list(csv.reader(io.StringIO(report_of(*texts, deaf=True).to_csv())))
    assert len(rows) == 1 + len(HOSTILE)
    assert {len(row) for row in rows} == {15}
    for row in rows[1:]:
        text = row[-1]
        assert text[0] not in "=+-@\t\r"
        assert text.isprintable()
    header = rows[0]
    assert float(rows[1][header.index("net")]) == 0.0


def test_the_seed_moves_intervals() -> None:
    texts = [praise("Samovar"), SellerText("Teapot", FIELD, "", "T0")]
    assert report_of(*texts, seed=1).seed == 1


@given(st.text(max_size=40))
def test_what_is_visible_can_be_printed_and_begins_no_formula(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    shown = cell(text)
    assert isinstance(shown, str)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(visible(text, 10)) <= 10


def test_cells_of_numbers_stay_numbers() -> None:
    assert (cell(-1.5), cell(3), cell(None)) == (-1.5, 3, "")
    assert cell("-1.5") == "'-1.5"
