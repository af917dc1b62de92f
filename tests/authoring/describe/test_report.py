"""The report: every way of judging is told, and what is simulated is called that."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.authoring.describe.clicks import ArmClicks, ClickConfig, ClickResult, simulate_clicks
from adwright.authoring.describe.queries import DescriptionEcho
from adwright.authoring.describe.report import (
    DescribeConfig,
    DescribeSources,
    DescriptionReport,
    judge_descriptions,
)
from adwright.authoring.describe.review import PairJudgement, review_pairs
from adwright.authoring.describe.search import INDEXES, DescriptionSearch, SearchConfig, SearchRow
from adwright.authoring.writer.drafts import Decision, Draft, Drafts
from adwright.core.errors import AdwrightError, ConfigError, SchemaError
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


FAST = DescribeConfig(
    rankers=("bm25",), search=SearchConfig(draws=40), clicks=ClickConfig(draws=40)
)
BM25 = "BM25 (k1 1.2, b 0.75)"


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def sources(tmp_path: Path) -> DescribeSources:
    """Twelve cups, one colour each: every second one has a description that says which."""
    colours = [f"shade{at}" for at in range(12)]
    products = [
        (f"p{at}", "plain cup", f"a cup in {colour}" if at % 2 else "", colour)
        for at, colour in enumerate(colours)
    ]
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write(
            [
                Draft(f"p{at}", "description", 0, f"the cup in {colour} for tea")
                for at, colour in enumerate(colours)
            ]
        )
        drafts.decide(Decision("p3", "description", 0, "reject", reasons=("no",)))
    return DescribeSources(
        table(tmp_path / "products.csv", ("id", "title", "description", "colour"), products),
        table(
            tmp_path / "queries.csv",
            ("query_id", "query"),
            [(f"q{at}", f"cup in {colour}") for at, colour in enumerate(colours)],
        ),
        table(
            tmp_path / "judgements.csv",
            ("query_id", "item_id", "grade"),
            [(f"q{at}", f"p{at}", 2) for at in range(12)],
        ),
        (tmp_path / "out",),
    )


def events(path: Path) -> Path:
    rows = []
    for at in range(240):
        name = "old" if at % 2 else "new"
        shared = (f"2024-01-01T00:{at // 60:02}:{at % 60:02}Z", f"r{at}", f"u{at % 40}")
        rows.append((f"i{at}", *shared, "impression", f"p{at % 6}", name, 0.5))
        if at % 5 == 0:
            rows.append((f"c{at}", *shared, "click", f"p{at % 6}", name, ""))
    header = ("event_id", "time", "request_id", "user_id", "kind", "item_id", "creative_id")
    return table(path, (*header, "propensity"), rows)


def test_files_become_a_report(sources: DescribeSources) -> None:
    report = judge_descriptions(sources, FAST)
    assert report.search is not None
    written = report.search.row(BM25, "unseen", "written").ndcg.value
    assert written > report.search.row(BM25, "unseen", "original").ndcg.value
    assert report.search.written == (11,)
    assert report.search.cold == 6
    assert any("rejected" in one for one in report.said)
    assert any("one job" in one for one in report.said)
    told = json.loads(report.to_json())
    assert told["settings"]["config"]["rankers"] == ["bm25"]
    assert report.clicks is None
    assert report.review is None
    assert report.simulated == ()


def test_seen_queries_stand_apart(sources: DescribeSources, tmp_path: Path) -> None:
    seen = table(tmp_path / "seen.csv", ("query",), [("Cup in shade1!",), ("other",)])
    report = judge_descriptions(replace(sources, seen=seen), FAST)
    assert report.search is not None
    assert report.search.seen == 1
    with closing(Drafts.open(sources.drafts[0])) as drafts:
        drafts.note_job("a", {"settings": {"value_columns": [["query", "colour"]]}})
        drafts.note_job("b", {"settings": {"values": [["query", "cup in shade5"]]}})
    told = judge_descriptions(sources, FAST)
    assert told.search is not None
    assert told.search.seen == 1


def test_a_log_tells_of_clicks_and_of_cold_products(
    sources: DescribeSources, tmp_path: Path
) -> None:
    log = events(tmp_path / "log.csv")
    cold = judge_descriptions(replace(sources, log=log), FAST)
    assert cold.clicks is None
    assert cold.search is not None
    assert cold.search.cold == 9
    arms = table(
        tmp_path / "arms.csv", ("creative_id", "arm"), [("old", "original"), ("new", "written")]
    )
    found = judge_descriptions(replace(sources, log=log, arms=arms), FAST)
    assert found.clicks is not None
    assert found.clicks.impressions == 240
    with pytest.raises(SchemaError, match="column is missing"):
        judge_descriptions(replace(sources, log=log, arms=log), FAST)


def test_reviews_and_simulated_clicks(sources: DescribeSources, tmp_path: Path) -> None:
    line = {"pair": "a", "rater": "r", "left": "draft", "right": "shop", "choice": "left"}
    path = tmp_path / "reviews.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    report = judge_descriptions(replace(sources, reviews=path), replace(FAST, simulate_clicks=True))
    assert report.review is not None
    assert report.review.wins["draft"].value == 1
    assert report.simulated[0].simulated
    assert "SIMULATED" in report.text()


@pytest.mark.parametrize("change", [{"k1": 0.1}, {"b": 0.0}])
def test_settings_reach_the_ranker(sources: DescribeSources, change: dict[str, Any]) -> None:
    report = judge_descriptions(sources, replace(FAST, **change))
    assert report.search is not None
    assert report.search.rows[0].ranker != BM25


def test_several_jobs_are_seeds(sources: DescribeSources, tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path / "again")) as drafts:
        drafts.write([Draft("p1", "description", 0, "the cup in shade1")])
        drafts.write([Draft("p1", "description", 1, "a variant")])
    both = replace(sources, drafts=(*sources.drafts, tmp_path / "again"))
    report = judge_descriptions(both, FAST)
    assert report.search is not None
    assert report.search.written == (11, 1)
    assert report.search.row(BM25, "unseen", "both").ndcg.seeds == 2
    one = replace(sources, drafts=(tmp_path / "again",))
    assert judge_descriptions(one, replace(FAST, variant=1)).search is not None
    with pytest.raises(AdwrightError, match="no text of the slot"):
        judge_descriptions(one, replace(FAST, slot="headline"))


def test_what_cannot_be_asked_for(sources: DescribeSources) -> None:
    with pytest.raises(ConfigError, match="folder of a writing job"):
        replace(sources, drafts=())
    with pytest.raises(ConfigError, match="arms"):
        replace(sources, arms=sources.queries)
    for rankers in ((), ("bm25", "bm25"), ("tfidf",)):
        with pytest.raises(ConfigError):
            DescribeConfig(rankers=rankers)  # type: ignore[arg-type]
