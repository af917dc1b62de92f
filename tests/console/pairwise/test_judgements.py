from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.describe.judgement_file import read_pair_judgements
from adwright.authoring.describe.review import RUBRIC, PairJudgement, review_pairs
from adwright.console.pairwise.judgements import CRITERIA, JudgementFile, judgement_line
from adwright.core.errors import FileUnreadableError

FIVE, FOUR = (("fluency", 5.0),), (("fluency", 4.0),)
ONE = PairJudgement("x1", "ann", "draft", "shop", "left", FIVE, FOUR)


def test_a_line_holds_what_describe_reads() -> None:
    assert json.loads(judgement_line(ONE, product="p1", slot="headline", time="now")) == {
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


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    lines = [
        "{",
        "[]",
        '{"pair": "x"}',
        judgement_line(ONE).decode().replace('"left",', '"up",').strip(),
    ]
    lines.append(judgement_line(ONE).decode().replace("5", "9").strip())
    for line in lines:
        path.write_text(f"\n{judgement_line(ONE).decode()}{line}\n")
        with pytest.raises(FileUnreadableError, match="no judgement"):
            JudgementFile(path)


def test_what_is_written_is_what_the_figures_of_a_review_are_of(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    with closing(JudgementFile(path)) as file:
        file.add(ONE)
        file.add(PairJudgement("x1", "bob", "shop", "draft", "tie"))
    first, second = read_pair_judgements(path)
    assert (first.pair, first.rater, first.winner) == ("x1", "ann", "draft")
    assert (first.left_scores, first.right_scores) == (FIVE, FOUR)
    assert (second.rater, second.winner) == ("bob", "")
    assert tuple(CRITERIA) == RUBRIC
    assert review_pairs([first, second]).wins["draft"].value == 0.75
