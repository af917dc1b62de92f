"""What a blind review says: wins, habits, scores and agreement."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.authoring.describe.review import (
    RUBRIC,
    JudgementFile,
    PairJudgement,
    read_pair_judgements,
    review_pairs,
    seen_in_columns,
    written_texts,
)
from adwright.authoring.writer.drafts import Decision, Draft, Drafts
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ValueInvalidError,
)


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
    with pytest.raises(ConfigError):
        PairJudgement("p", "r", "a", "b", "none")  # type: ignore[arg-type]
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
        drafts.decide(Decision("p1", "description", 0, "edit", "by a person"))
        drafts.decide(Decision("p2", "description", 0, "reject", reasons=("no",)))
        drafts.decide(Decision("p3", "description", 0, "approve"))
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
