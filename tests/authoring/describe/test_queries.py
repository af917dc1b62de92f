"""Queries and judgements from files, and what falls away when they meet a catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adwright.authoring.describe.queries import (
    GradedJudgement,
    SearchQuery,
    judged_by,
    read_judgements,
    read_queries,
)
from adwright.core.errors import AdwrightError, DataError, SchemaError, ValueInvalidError


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", "query_id,query,seen\n1,red tea,\n2,cup,true\n")
    assert read_queries(path) == (SearchQuery("1", "red tea"), SearchQuery("2", "cup", seen=True))
    lines = '{"query_id": 1, "item_id": "a", "grade": 2}\n'
    path = written(tmp_path / "j.jsonl", lines)
    assert read_judgements(path) == (GradedJudgement("1", "a", 2.0),)


def test_judgements_of_trec(tmp_path: Path) -> None:
    path = written(tmp_path / "run.qrels", "1 0 a 3\n\n1 0 b -2\n2\t0\tc\t0\n")
    assert [one.grade for one in read_judgements(path)] == [3, 0, 0]
    with pytest.raises(AdwrightError, match="line 1 has 3 fields"):
        read_judgements(written(tmp_path / "bad.qrels", "1 a 3\n"))
    with pytest.raises(AdwrightError, match="cannot be read"):
        read_judgements(tmp_path / "gone.qrels")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("query_id,text\n1,tea\n", SchemaError, "column is missing"),
        ("query_id,query\n1,\n", ValueInvalidError, "is empty"),
        ("query_id,query\n,tea\n", ValueInvalidError, "is empty"),
        ("query_id,query\n1,tea\n1,cup\n", ValueInvalidError, "one id"),
        ("query_id,query,seen\n1,tea,maybe\n", ValueInvalidError, "true or false"),
    ],
)
def test_broken_queries(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_queries(written(tmp_path / "q.csv", text))


@pytest.mark.parametrize("grade", ["", "good", "-1", "31", "nan"])
def test_broken_grades(tmp_path: Path, grade: str) -> None:
    path = written(tmp_path / "j.csv", f"query_id,item_id,grade\n1,a,2\n1,b,{grade}\n")
    with pytest.raises(ValueInvalidError, match="0 to 30") as raised:
        read_judgements(path)
    assert raised.value.row == 1
    with pytest.raises(ValueInvalidError, match="is empty"):
        read_judgements(written(path, "query_id,item_id,grade\n,a,2\n"))


QUERIES = (SearchQuery("1", "Red Tea"), SearchQuery("2", "cup"), SearchQuery("3", "gold"))
JUDGED = (
    GradedJudgement("1", "a", 2),
    GradedJudgement("1", "b", 0),
    GradedJudgement("1", "a", 1),
    GradedJudgement("2", "b", 1),
    GradedJudgement("3", "b", 0),
    GradedJudgement("9", "a", 1),
    GradedJudgement("1", "gone", 1),
)


def test_what_falls_away_is_counted() -> None:
    found = judged_by(QUERIES, JUDGED, ["a", "b"], seen=["red tea!"])
    assert [one.id for one in found.queries] == ["1", "2"]
    assert found.offsets.tolist() == [0, 2, 3]
    grades = dict(zip(found.items[:2].tolist(), found.grades[:2].tolist(), strict=True))
    assert grades == {0: 2.0, 1: 0.0}
    assert (found.unknown, found.unanswered, found.repeated) == (2, 1, 1)
    assert found.seen().tolist() == [True, False]
    assert found.grades_of(np.array([False, True])).sum() == 1


def test_nothing_is_left_or_ids_are_repeated() -> None:
    with pytest.raises(DataError, match="no query is answered"):
        judged_by(QUERIES, JUDGED, ["z"])
    with pytest.raises(DataError, match="one id"):
        judged_by(QUERIES, JUDGED, ["a", "a"])
