from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import pytest

from adwright.delivery.cascade.trial import OrderQuality, StageQuality
from adwright.demos.cascade_page import (
    CascadeMeasures,
    ShownDecision,
    SlateItem,
    write_cascade_page,
)
from adwright.metrics.bootstrap import Interval
from tests.demos.test_ranker_page import Balance
from tests.support.data.small_next_basket import START

SHARE = Interval(0.5, 0.4, 0.625)
MEASURES = CascadeMeasures(
    requests=1000,
    households=691,
    items=68_509,
    k=10,
    stages=(
        StageQuality("retrieve", 815.2, SHARE, Interval(1, 1, 1)),
        StageQuality("elsewhere", 50, SHARE, SHARE),
    ),
    cpu_ms={"retrieve": 10.26, "elsewhere": 8.0},
    orders=(
        OrderQuality("cascade", SHARE, SHARE, None),
        OrderQuality("habit", SHARE, SHARE, Interval(0.012, -0.01, 0.03)),
    ),
    p50_ms=30.4,
    p99_ms=59.6,
    sample=30,
    exhaustive_cpu_ms=1822.4,
)
SHOWN = ShownDecision(
    user_id="<i>17",
    time=START,
    history=1234,
    basket=7,
    places=(
        SlateItem("i1", "tea & <jam>", 0.123, 0.456, 39, True),
        SlateItem("i2", "milk", 0.05, 0.01, 0, False),
    ),
)


@pytest.fixture
def page(tmp_path: Path) -> str:
    path = tmp_path / "cascade.html"
    write_cascade_page(
        path,
        MEASURES,
        [SHOWN],
        protocol="by hand",
        artifact="abc123",
        seed=41,
        seconds={"serve": 30.04, "rank": 40.0},
    )
    return path.read_text("utf-8")


def test_tables_are_text() -> None:
    header, rows = MEASURES.stage_header(), MEASURES.stage_rows()
    assert all(len(row) == len(header) for row in rows)
    assert "own 10 (30 requests)" in header[3]
    assert rows[0][1:] == ("815", "50.0% (40.0% to 62.5%)", "100.0% (100.0% to 100.0%)", "10.3")
    assert rows[1][0] == "elsewhere"
    header, orders = MEASURES.order_header(), MEASURES.order_rows()
    assert header[1:3] == ("recall@10", "NDCG@10")
    assert orders[0] == ("cascade", *["0.500 (0.400 to 0.625)"] * 2, "")
    assert orders[1][3] == "+0.012 (-0.010 to +0.030)"
    assert "1,000 baskets" in MEASURES.title()
    assert "691 households" in MEASURES.title()


def test_what_it_costs_is_said() -> None:
    assert MEASURES.whole_cpu_ms == pytest.approx(18.26)
    assert "30 ms (median; 99% within 60 ms) and 18 CPU-ms" in MEASURES.cost()
    assert "1,822 CPU-ms" in MEASURES.cost()
    assert replace(MEASURES, p50_ms=9.0).cost() != MEASURES.cost()


def test_the_page_is_whole_and_escaped(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "&lt;i&gt;17" in page
    assert "tea &amp; &lt;jam&gt;" in page
    assert "<script" not in page


def test_everything_is_told(page: str) -> None:
    assert escape(MEASURES.stage_header()[3]).replace("&#x27;", "&#39;") in page
    told = (
        *MEASURES.stage_header()[:3],
        *MEASURES.order_header(),
        *(cell for row in (*MEASURES.stage_rows(), *MEASURES.order_rows()) for cell in row),
        MEASURES.cost(),
        "1,234 purchases before; 7 items",
        "12.3%",
        "45.6%",
        "×39",
        '<span class="taken">yes</span>',
        "by hand",
        "abc123",
        ">41<",
        "30.0 s",
        "70 s",
    )
    for text in told:
        assert text in page, text
