"""The report: every way of judging is told, and what is simulated is called that."""

from __future__ import annotations

import json

import numpy as np
import pytest

from adwright.authoring.describe.clicks import ArmClicks, ClickResult, simulate_clicks
from adwright.authoring.describe.echo import DescriptionEcho
from adwright.authoring.describe.report import DescriptionReport
from adwright.authoring.describe.review import PairJudgement, review_pairs
from adwright.authoring.describe.search import INDEXES, DescriptionSearch, SearchRow
from adwright.metrics.bootstrap import Interval, MethodInterval
from adwright.metrics.offpolicy import WeightSummary

SOME = MethodInterval(0.5, 0.4, 0.6, 1)


def search() -> DescriptionSearch:
    rows = tuple(
        SearchRow("words", part, index, 7, SOME, None if index == "original" else SOME)
        for part in ("unseen", "seen")
        for index in INDEXES
    )
    grades = {("words", index): np.ones((1, 7, 3)) for index in INDEXES}
    echo = DescriptionEcho("p1", "gift for mother", 1.0, ("gift",))
    return DescriptionSearch(rows, 3, 20, 4, (19,), ((echo,),), 2, 3, 5, grades)


def clicks(*, simulated: bool = False) -> ClickResult:
    weights = WeightSummary(1.0, 2.0, 50.0, 0.5)
    arms = tuple(
        ArmClicks(name, Interval(0.1, 0.05, 0.2), 0.11, 100, 11, weights)
        for name in ("original", "written")
    )
    lead = Interval(0.0, -0.1, 0.1)
    return ClickResult(arms, lead, "dr", 200, 40, 0, ("weights are odd",), simulated)


def whole() -> DescriptionReport:
    found = search()
    pairs = [
        PairJudgement(
            f"p{at}", rater, "draft", "shop", "left", (("fluency", 4.0),), (("fluency", 3.0),)
        )
        for at in range(4)
        for rater in ("a", "b")
    ]
    return DescriptionReport(
        found,
        clicks(),
        simulate_clicks(found),
        review_pairs(pairs, draws=20),
        {"k": 3},
        ("a note",),
    )


def test_everything_is_told() -> None:
    text = whole().text()
    for words in (
        "NDCG@3",
        "original + written",
        "no evidence",
        "gift for mother",
        "3 queries that no product answers",
        "5 judgements",
        "Clicks, by dr",
        "warning: weights are odd",
        "written above original",
        "SIMULATED clicks",
        "no person clicked",
        "Blind review: 8 judgements of 4 pairs by 2 raters",
        "alpha of the choices",
        "note: a note",
    ):
        assert words in text, words
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_was_not_judged_is_not_told() -> None:
    assert DescriptionReport().text() == ""
    only = DescriptionReport(clicks=clicks(simulated=True)).text()
    assert only.startswith("SIMULATED Clicks")
    assert "NDCG" not in only


def test_the_file_holds_every_figure_and_no_list() -> None:
    found = json.loads(whole().to_json())
    assert found["settings"] == {"k": 3}
    assert len(found["search"]["rows"]) == 8
    assert "grades" not in found["search"]
    assert found["simulated_clicks"][0]["simulated"] is True
    assert found["clicks"]["simulated"] is False
    assert found["review"]["rubric"][0]["name"] == "fluency"
    assert json.loads(DescriptionReport().to_json())["said"] == []


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (DescriptionReport(search=search()), "Is a product found better"),
        (DescriptionReport(clicks=clicks()), "Click rate if it were shown always"),
        (DescriptionReport(review=whole().review), "Share of comparisons won"),
    ],
)
def test_the_picture_shows_what_was_judged(report: DescriptionReport, words: str) -> None:
    svg = report.svg()
    assert svg.startswith("<svg")
    assert words.split(" ", maxsplit=1)[0] in svg
