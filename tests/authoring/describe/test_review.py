"""What a blind review says: wins, habits, scores and agreement."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.authoring.describe.queries import DescriptionEcho
from adwright.authoring.describe.report import (
    DescribeConfig,
    DescribeSources,
    DescriptionReport,
    judge_descriptions,
)
from adwright.authoring.describe.review import (
    RUBRIC,
    JudgementFile,
    PairJudgement,
    read_pair_judgements,
    review_pairs,
    seen_in_columns,
    written_texts,
)
from adwright.authoring.describe.search import INDEXES, DescriptionSearch, SearchConfig, SearchRow
from adwright.authoring.writer.drafts import Draft, Drafts, ReviewDecision
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ValueInvalidError,
)
from adwright.metrics.bootstrap import MethodInterval

SOME = MethodInterval(0.5, 0.4, 0.6, 1)


def search() -> DescriptionSearch:
    rows = tuple(
        SearchRow("words", part, index, 7, SOME, None if index == "original" else SOME)
        for part in ("unseen", "seen")
        for index in INDEXES
    )
    echo = DescriptionEcho("p1", "gift for mother", 1.0, ("gift",))
    return DescriptionSearch(rows, 3, 20, 4, (19,), ((echo,),), 2, 3, 5)


def whole() -> DescriptionReport:
    found = search()
    pairs = [
        PairJudgement(
            f"p{at}", rater, "draft", "shop", "left", (("fluency", 4.0),), (("fluency", 3.0),)
        )
        for at in range(4)
        for rater in ("a", "b")
    ]
    return DescriptionReport(found, review_pairs(pairs, draws=20), {"k": 3}, ("a note",))


def test_everything_is_told() -> None:
    text = whole().text()
    for words in (
        "NDCG@3",
        "original + written",
        "no evidence",
        "gift for mother",
        "3 queries that no product answers",
        "5 judgements",
        "Blind review: 8 judgements of 4 pairs by 2 raters",
        "alpha of the choices",
        "note: a note",
    ):
        assert words in text, words
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_was_not_judged_is_not_told() -> None:
    assert DescriptionReport().text() == ""


def test_the_file_holds_every_figure_and_no_list() -> None:
    found = json.loads(whole().to_json())
    assert found["settings"] == {"k": 3}
    assert len(found["search"]["rows"]) == 8
    assert found["review"]["rubric"][0]["name"] == "fluency"
    assert json.loads(DescriptionReport().to_json())["said"] == []


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (DescriptionReport(search=search()), "Is a product found better"),
        (DescriptionReport(review=whole().review), "Share of comparisons won"),
    ],
)
def test_the_picture_shows_what_was_judged(report: DescriptionReport, words: str) -> None:
    svg = report.svg()
    assert svg.startswith("<svg")
    assert words.split(" ", maxsplit=1)[0] in svg


REPORT_FAST = DescribeConfig(rankers=("bm25",), search=SearchConfig(draws=40))
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
        drafts.decide(ReviewDecision("p3", "description", 0, "reject", reasons=("no",)))
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
    report = judge_descriptions(sources, REPORT_FAST)
    assert report.search is not None
    written = report.search.row(BM25, "unseen", "written").ndcg.value
    assert written > report.search.row(BM25, "unseen", "original").ndcg.value
    assert report.search.written == (11,)
    assert report.search.cold == 6
    assert any("rejected" in one for one in report.said)
    assert any("one job" in one for one in report.said)
    told = json.loads(report.to_json())
    assert told["settings"]["config"]["rankers"] == ["bm25"]
    assert report.review is None


def test_seen_queries_stand_apart(sources: DescribeSources, tmp_path: Path) -> None:
    seen = table(tmp_path / "seen.csv", ("query",), [("Cup in shade1!",), ("other",)])
    report = judge_descriptions(replace(sources, seen=seen), REPORT_FAST)
    assert report.search is not None
    assert report.search.seen == 1
    with closing(Drafts.open(sources.drafts[0])) as drafts:
        drafts.note_job("a", {"settings": {"value_columns": [["query", "colour"]]}})
        drafts.note_job("b", {"settings": {"values": [["query", "cup in shade5"]]}})
    told = judge_descriptions(sources, REPORT_FAST)
    assert told.search is not None
    assert told.search.seen == 1


def test_a_log_tells_of_cold_products(sources: DescribeSources, tmp_path: Path) -> None:
    cold = judge_descriptions(replace(sources, log=events(tmp_path / "log.csv")), REPORT_FAST)
    assert cold.search is not None
    assert cold.search.cold == 9


def test_reviews_stand_in_the_report(sources: DescribeSources, tmp_path: Path) -> None:
    line = {"pair": "a", "rater": "r", "left": "draft", "right": "shop", "choice": "left"}
    path = tmp_path / "reviews.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    report = judge_descriptions(replace(sources, reviews=path), REPORT_FAST)
    assert report.review is not None
    assert report.review.wins["draft"].value == 1


@pytest.mark.parametrize("change", [{"k1": 0.1}, {"b": 0.0}])
def test_settings_reach_the_ranker(sources: DescribeSources, change: dict[str, Any]) -> None:
    report = judge_descriptions(sources, replace(REPORT_FAST, **change))
    assert report.search is not None
    assert report.search.rows[0].ranker != BM25


def test_several_jobs_are_seeds(sources: DescribeSources, tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path / "again")) as drafts:
        drafts.write([Draft("p1", "description", 0, "the cup in shade1")])
        drafts.write([Draft("p1", "description", 1, "a variant")])
    both = replace(sources, drafts=(*sources.drafts, tmp_path / "again"))
    report = judge_descriptions(both, REPORT_FAST)
    assert report.search is not None
    assert report.search.written == (11, 1)
    assert report.search.row(BM25, "unseen", "both").ndcg.seeds == 2
    one = replace(sources, drafts=(tmp_path / "again",))
    assert judge_descriptions(one, replace(REPORT_FAST, variant=1)).search is not None
    with pytest.raises(AdwrightError, match="no text of the slot"):
        judge_descriptions(one, replace(REPORT_FAST, slot="headline"))


def test_what_cannot_be_asked_for(sources: DescribeSources) -> None:
    with pytest.raises(ConfigError, match="folder of a writing job"):
        replace(sources, drafts=())
    for rankers in ((), ("bm25", "bm25"), ("tfidf",)):
        with pytest.raises(ConfigError):
            DescribeConfig(rankers=rankers)  # type: ignore[arg-type]


def judgements(*, better: float = 0.8, pairs: int = 60, raters: int = 3) -> list[PairJudgement]:
    """Raters of one mind about a pair, of whom each sees the sides in an order of his own."""
    rng = np.random.default_rng(1)
    found = []
    for pair in range(pairs):
        wins = rng.random() < better
        for rater in range(raters):
            turned = rng.random() < 0.5
            left, right = ("draft", "shop") if turned else ("shop", "draft")
            choice = "tie" if pair % 10 == 9 else ("left" if wins == turned else "right")
            draft, shop = (("factuality", 5.0),), (("factuality", 3.0 + pair % 2),)
            sides = (draft, shop) if turned else (shop, draft)
            found.append(PairJudgement(f"p{pair}", f"r{rater}", left, right, choice, *sides))
    return found


def test_a_source_that_wins_is_seen_from_either_side() -> None:
    found = review_pairs(judgements(), draws=200)
    assert found.sources == ("draft", "shop")
    assert found.wins["draft"].low > 0.5
    assert found.wins["draft"].value + found.wins["shop"].value == pytest.approx(1)
    assert (found.pairs, found.raters, found.judgements) == (60, 3, 180)
    assert found.ties == pytest.approx(0.1)
    assert found.left is not None
    assert found.left.low < 0.5 < found.left.high
    assert found.choice is not None
    assert found.choice.alpha is not None
    assert found.choice.alpha.value == pytest.approx(1)


def test_a_tie_counts_one_half() -> None:
    ties = [PairJudgement(f"p{at}", "r", "a", "b", "tie") for at in range(5)]
    found = review_pairs(ties, draws=20)
    assert found.wins["a"].value == found.wins["b"].value == 0.5
    assert found.left is None
    assert found.choice is None


def test_scores_belong_to_the_text_and_not_to_the_side() -> None:
    found = review_pairs(judgements(), draws=100)
    (one,) = found.rubric
    assert one.name == "factuality"
    assert one.means["draft"].value == 5
    assert one.means["shop"].value == pytest.approx(3.5)
    assert one.lead.value == pytest.approx(-1.5)
    assert one.ordinal is not None
    assert one.ordinal.units == 120
    assert one.interval is not None


def test_the_later_judgement_of_a_rater_stands() -> None:
    first = PairJudgement("p", "r", "a", "b", "left")
    later = PairJudgement("p", "r", "a", "b", "right")
    found = review_pairs([first, later], draws=20)
    assert (found.judgements, found.wins["b"].value) == (1, 1)


def test_raters_who_do_not_read_agree_in_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [
        PairJudgement(f"p{pair}", f"r{rater}", *sides, "left")
        for pair in range(80)
        for rater in range(2)
        for sides in [("a", "b") if rng.random() < 0.5 else ("b", "a")]
    ]
    found = review_pairs(rows, draws=100)
    assert found.left is not None
    assert found.left.value == 1
    assert found.choice is not None
    assert found.choice.alpha is not None
    assert abs(found.choice.alpha.value) < 0.25


def test_seed_draws_and_confidence_change_the_interval() -> None:
    usual = review_pairs(judgements(), draws=100).wins["draft"]
    assert review_pairs(judgements(), draws=100, seed=1).wins["draft"] != usual
    assert review_pairs(judgements(), draws=50).wins["draft"] != usual
    assert review_pairs(judgements(), draws=100, confidence=0.5).wins["draft"].width < usual.width


def test_what_is_no_review() -> None:
    with pytest.raises(DataError, match="two sources, not 0"):
        review_pairs([])
    rows = [PairJudgement("p", "r", "a", "b", "tie"), PairJudgement("q", "r", "a", "c", "tie")]
    with pytest.raises(DataError, match="two sources, not 3"):
        review_pairs(rows)
    twice = [PairJudgement("p", "r", "a", "a", "tie"), PairJudgement("q", "r", "a", "b", "tie")]
    with pytest.raises(ValueInvalidError, match="with itself"):
        review_pairs(twice)


def test_a_judgement_is_checked() -> None:
    for scores in ((("beauty", 3.0),), ((RUBRIC[0], 6.0),)):
        with pytest.raises(ValueInvalidError, match="from 1 to 5"):
            PairJudgement("p", "r", "a", "b", "tie", scores)


FIVE, FOUR = (("fluency", 5.0),), (("fluency", 4.0),)
ONE = PairJudgement("x1", "ann", "draft", "shop", "left", FIVE, FOUR)
LINE: dict[str, Any] = {
    "pair": "4f0c",
    "rater": "ann",
    "left": "draft",
    "right": "shop",
    "choice": "left",
    "rubric": {"factuality": {"left": 5, "right": 4}},
    "time": "2024-01-01T00:00:00Z",
}


def test_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    bare = {key: value for key, value in LINE.items() if key != "rubric"} | {"choice": "tie"}
    null = bare | {"rubric": None}
    # The last one lacks its line end alone, as other programs write files.
    text = "\n\n".join(map(json.dumps, (LINE, bare, null)))
    path.write_text(text, encoding="utf-8")
    first, second, third = read_pair_judgements(path)
    assert third == second
    with closing(JudgementFile(path)) as file:
        assert file.of("4f0c", "ann") == third
    assert first.winner == "draft"
    assert first.left_scores == (("factuality", 5.0),)
    assert first.right_scores == (("factuality", 4.0),)
    assert (second.winner, second.left_scores) == ("", ())


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE)[:40]}", encoding="utf-8")
    assert len(read_pair_judgements(path)) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choice": "both"}, "choice cannot be"),
        ({"pair": ""}, "are texts"),
        ({"rater": 3}, "are texts"),
        ({"rater": None}, "are texts"),
        ({"rubric": [1]}, "an object"),
        ({"rubric": {"factuality": {"left": 5}}}, "lacks 'right'"),
        ({"rubric": {"factuality": {"left": 5, "right": 9}}}, "from 1 to 5"),
        ({"rubric": {"factuality": {"left": "x", "right": 3}}}, "could not convert"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE | change)}\n", encoding="utf-8")
    with pytest.raises(FileUnreadableError, match=words) as raised:
        read_pair_judgements(path)
    assert "line 2" in raised.value.what
    with pytest.raises(FileUnreadableError, match=words):
        JudgementFile(path)


@pytest.mark.parametrize("data", [b"[1]\n", b"\xff\xfe\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_no_judgements_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(data)
    with pytest.raises(FileUnreadableError, match="line 1 cannot be read"):
        read_pair_judgements(path)
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_pair_judgements(tmp_path)


def test_a_line_holds_what_describe_reads(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with closing(JudgementFile(path)) as file:
        file.add(ONE, product="p1", slot="headline", time="now")
    assert json.loads(path.read_bytes()) == {
        "pair": "x1",
        "rater": "ann",
        "left": "draft",
        "right": "shop",
        "choice": "left",
        "rubric": {"fluency": {"left": 5, "right": 4}},
        "product": "p1",
        "slot": "headline",
        "time": "now",
    }


def test_the_last_word_of_a_rater_holds(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    with closing(JudgementFile(path)) as file, closing(JudgementFile(path)) as other:
        file.add(ONE)
        later = PairJudgement("x1", "ann", "draft", "shop", "tie")
        other.add(later)
        other.add(PairJudgement("x1", "bob", "shop", "draft", "right"))
        file.refresh()
        assert file.of("x1", "ann") == later
        assert file.of("x2", "ann") is None
        assert file.of("x1", "bob") is not None
    with closing(JudgementFile(path)) as again:
        assert again.of("x1", "ann") == later
    assert len(path.read_text().splitlines()) == 3


def test_what_is_written_is_what_the_figures_of_a_review_are_of(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    with closing(JudgementFile(path)) as file:
        file.add(ONE)
        file.add(PairJudgement("x1", "bob", "shop", "draft", "tie"))
    first, second = read_pair_judgements(path)
    assert (first.pair, first.rater, first.winner) == ("x1", "ann", "draft")
    assert (first.left_scores, first.right_scores) == (FIVE, FOUR)
    assert (second.rater, second.winner) == ("bob", "")
    assert review_pairs([first, second]).wins["draft"].value == 0.75


def job(folder: Path) -> Path:
    """A folder with four descriptions, of which people have looked at three."""
    with closing(Drafts.open(folder)) as drafts:
        drafts.write([Draft(f"p{at}", "description", 0, f"text {at}") for at in range(4)])
        drafts.write([Draft("p0", "description", 1, "other"), Draft("p0", "headline", 0, "head")])
        drafts.decide(ReviewDecision("p1", "description", 0, "edit", "by a person"))
        drafts.decide(ReviewDecision("p2", "description", 0, "reject", reasons=("no",)))
        drafts.decide(ReviewDecision("p3", "description", 0, "approve"))
        settings = {"values": [["query", "gift"], ["occasion", "Christmas"]]}
        drafts.note_job("a", {"settings": settings | {"value_columns": [["keywords", "asked"]]}})
    return folder


def test_people_decide_what_a_text_is(tmp_path: Path) -> None:
    found = written_texts(job(tmp_path))
    assert found.texts == {"p0": "text 0", "p1": "by a person", "p3": "text 3"}
    counts = (found.approved, found.edited, found.unreviewed, found.rejected)
    assert counts == (1, 1, 1, 1)


def test_slot_and_variant_choose(tmp_path: Path) -> None:
    folder = job(tmp_path)
    assert written_texts(folder, variant=1).texts == {"p0": "other"}
    assert written_texts(folder, slot="headline").texts == {"p0": "head"}
    with pytest.raises(DataError, match="no text of the slot 'title'") as raised:
        written_texts(folder, slot="title")
    assert "description, headline" in raised.value.hint


def test_what_the_writer_was_told_of_searches(tmp_path: Path) -> None:
    found = written_texts(job(tmp_path))
    assert found.queries == ("gift",)
    assert found.columns == ("asked",)
    table = pl.DataFrame({"asked": ["tea", None, "tea", "cup"], "other": ["x"] * 4})
    assert seen_in_columns(table, found.columns) == ("tea", "cup")
    assert seen_in_columns(table, ["gone"]) == ()


def test_a_folder_of_no_job(tmp_path: Path) -> None:
    with pytest.raises(AdwrightError):
        written_texts(tmp_path / "gone")
