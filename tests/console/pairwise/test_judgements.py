from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from adwright.console.pairwise.judgements import CRITERIA, Judgement, JudgementFile
from adwright.core.errors import ConfigError, FileUnreadableError

ONE = Judgement("x1", "ann", "draft", "shop", "left", {"fluency": (5, 4)}, "p1", "headline", "now")


def test_a_line_holds_what_describe_reads() -> None:
    assert json.loads(ONE.line()) == {
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
        later = Judgement("x1", "ann", "draft", "shop", "tie")
        other.add(later)
        other.add(Judgement("x1", "bob", "shop", "draft", "right"))
        file.refresh()
        assert file.of("x1", "ann") == later
        assert file.of("x2", "ann") is None
        assert file.raters() == ["ann", "bob"]
    with closing(JudgementFile(path)) as again:
        assert again.of("x1", "ann") == later
    assert len(path.read_text().splitlines()) == 3


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    lines = ["{", "[]", '{"pair": "x"}', ONE.line().decode().replace('"left",', '"up",').strip()]
    lines.append(ONE.line().decode().replace("5", "9").strip())
    for line in lines:
        path.write_text(f"\n{ONE.line().decode()}{line}\n")
        with pytest.raises(FileUnreadableError, match="no judgement"):
            JudgementFile(path)


@pytest.mark.parametrize(
    "change",
    [
        {"choice": "both"},
        {"rater": ""},
        {"rubric": {"beauty": (1, 2)}},
        {"rubric": {"fluency": (0, 2)}},
        {"rubric": {"fluency": (1, 6)}},
    ],
)
def test_a_wrong_judgement_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Judgement(**{**vars(ONE), **change})


def test_the_criteria_are_those_of_the_review() -> None:
    assert list(CRITERIA) == ["factuality", "fluency", "persuasiveness", "policy"]
