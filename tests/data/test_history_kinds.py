from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.history_kinds import check_history, events_file, kinds_of, only_history

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
