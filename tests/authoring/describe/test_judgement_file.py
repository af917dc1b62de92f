"""The file of a blind review, whole and broken."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.describe.review import (
    JudgementFile,
    PairJudgement,
    read_pair_judgements,
    review_pairs,
)
from adwright.core.errors import FileUnreadableError

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
