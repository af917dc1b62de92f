"""What a log lacks for a ranking task is said with what it has."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.log_checks import check_context, check_kinds, check_splits, context_value

FIRST, VALID, TEST, LAST = (datetime(2024, 1, day, tzinfo=UTC) for day in (1, 10, 20, 30))
FULL = {(split, label): 3 for split in ("train", "valid", "test") for label in (0, 1)}


def of_kinds(*kinds: str) -> pl.LazyFrame:
    return pl.LazyFrame({"kind": kinds}, schema={"kind": pl.String})


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (
            ("click", "click", "purchase"),
            r"no impressions; it has click 2, purchase 1 .*cascade LOG",
        ),
        ((), "no impressions; it has no events"),
        (("impression", "view"), r'no event is a response; .*view 1.*responses = \["view"\]'),
        (("impression",), "add the clicks or purchases"),
    ],
)
def test_kinds_that_are_lacking(kinds: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        check_kinds(of_kinds(*kinds), ("click", "purchase"))


def test_kinds_that_suffice() -> None:
    assert check_kinds(of_kinds("impression", "click"), ("click", "purchase")) is None


def test_keys_that_no_impression_has() -> None:
    context = ['{"store": 1, "none": null}', None]
    shown = pl.LazyFrame({"context": context, "campaign_id": ["c", None]})
    assert check_context(shown, ()) is None
    assert check_context(shown, ("store", "campaign_id")) is None
    for key in ("none", "colour"):
        with pytest.raises(ValueInvalidError, match=rf"no impression has .*'{key}'.*--context"):
            check_context(shown, ("store", key))
    found = shown.select(context_value("store"), context_value("campaign_id")).collect()
    assert found.rows() == [("1", "c"), (None, None)]


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ((("valid", 0), ("valid", 1)), "no validation rows: validation begins 2024-01-10"),
        (
            (("test", 1),),
            r"no test positives.*test 2024-01-20.*2024-01-01.* and 2024-01-30",
        ),
        ((("train", 0),), "no training negatives"),
        (tuple(FULL), "no training rows"),
    ],
)
def test_splits_that_lack_something(lacking: tuple[tuple[str, int], ...], words: str) -> None:
    counts = {key: number for key, number in FULL.items() if key not in lacking}
    with pytest.raises(ValueInvalidError, match=words) as caught:
        check_splits(counts, VALID, TEST, (FIRST, LAST))
    assert "move the dates" in caught.value.hint


def test_splits_that_suffice() -> None:
    assert check_splits(FULL, VALID, TEST, (FIRST, LAST)) is None
