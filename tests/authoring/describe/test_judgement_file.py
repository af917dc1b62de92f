"""The file of a blind review, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.describe.judgement_file import read_pair_judgements
from adwright.core.errors import FileUnreadableError

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
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(bare)}\n", encoding="utf-8")
    first, second = read_pair_judgements(path)
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


@pytest.mark.parametrize("data", [b"[1]\n", b"\xff\xfe\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_no_judgements_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(data)
    with pytest.raises(FileUnreadableError, match="line 1 is no judgement"):
        read_pair_judgements(path)
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_pair_judgements(tmp_path)
