from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.history_kinds import (
    Again,
    again_in_words,
    check_history,
    events_file,
    final_kinds,
    kinds_of,
    learn_again,
    only_history,
)

EVENTS = pl.DataFrame(
    {"item_id": [1, 2, 3, 4], "kind": ["impression", "click", None, "purchase"]},
    schema_overrides={"kind": pl.Categorical},
)


def test_only_the_kinds_that_count_are_history() -> None:
    assert only_history(EVENTS, ("click", "purchase"))["item_id"].to_list() == [2, 4]
    assert only_history(EVENTS, ("view",)).height == 0
    assert only_history(EVENTS.drop("kind"), ("click",)).height == 4


def test_a_log_without_history_is_refused_with_its_kinds() -> None:
    found = kinds_of(EVENTS)
    assert found == {"impression", "click", "purchase"}
    check_history(found, ("click", "view"))
    words = r"kinds that count are view, rating.*e\.csv.*click, impression, purchase"
    with pytest.raises(ValueInvalidError, match=words):
        check_history(found, ("view", "rating"), file="e.csv")


@pytest.mark.parametrize("name", ["events.parquet", "events.csv"])
def test_the_folder_of_a_log_stands_for_its_events(name: str, tmp_path: Path) -> None:
    assert events_file(tmp_path) == tmp_path
    (tmp_path / name).touch()
    assert events_file(tmp_path) == tmp_path / name
    assert events_file(str(tmp_path / name)) == tmp_path / name


def happened(*told: str) -> pl.DataFrame:
    """Events of "user item kind", one a second."""
    rows = [(*one.split(), second) for second, one in enumerate(told)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "kind", "time"], orient="row")


def test_whether_items_come_again_is_learned_by_kind() -> None:
    shop = [
        f"u{n} i{n % 7 + step} {kind}"
        for n in range(40)
        for step in range(3)
        for kind in ("view", "purchase")
    ]
    found = learn_again(happened(*shop))
    # Of 80 later purchases none is of an item bought before, each of the 120 was viewed before.
    assert found["purchase"].taken == 80
    assert found["purchase"].share == 0
    assert 0.1 < found["purchase"].chance < 0.3
    assert found["view"] == Again(120, 1.0, found["view"].chance)
    assert final_kinds(found) == ("purchase",)
    assert (
        "after a purchase the item leaves the user's list: 0.0% of 80" in again_in_words(found)[0]
    )
    assert (
        "after a view the item stays on the user's list: 100.0% of 120" in again_in_words(found)[1]
    )
    # Where the same is bought again and again, nothing leaves the list.
    milk = learn_again(happened(*(f"u{n % 5} i{n % 5} purchase" for n in range(60))))
    assert milk["purchase"].share == 1
    assert final_kinds(milk) == ()
    # Far more rarely than by chance is not usual, even at 5%; as often as by chance is.
    assert not Again(100, 0.05, 0.2).usual
    assert Again(100, 0.19, 0.2).usual


@pytest.mark.parametrize(
    ("again", "final"),
    [
        ({"click": Again(90, 0.0, 0.1)}, ("click", "purchase", "conversion", "rating")),
        ({"click": Again(0, 0.0, 0.0), "purchase": Again(0, 0.0, 0.0)}, ("purchase",)),
        ({"purchase": Again(90, 0.3, 0.1)}, ()),
        ({}, ()),
    ],
)
def test_kinds_that_the_log_lacks(again: dict[str, Again], final: tuple[str, ...]) -> None:
    assert final_kinds(again) == final
