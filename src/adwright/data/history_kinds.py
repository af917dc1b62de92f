"""Which events of a log are a user's history: what was done, never what was only shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from adwright.core.errors import ValueInvalidError

__all__ = ["check_history", "events_file", "kinds_of", "only_history"]


def only_history(events: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """The events of these kinds, in their order; all of them where there is no column `kind`.

    >>> events = pl.DataFrame({"item_id": [1, 2], "kind": ["impression", "click"]})
    >>> only_history(events, ("click", "purchase"))["item_id"].to_list()
    [2]
    """
    if "kind" not in events.columns:
        return events
    return events.filter(pl.col("kind").cast(pl.String).is_in(list(kinds)))


def kinds_of(events: pl.DataFrame) -> set[str]:
    """The kinds of events that a table with the column `kind` holds."""
    return set(events["kind"].cast(pl.String).drop_nulls().unique())


def check_history(found: Iterable[str], kinds: Sequence[str], *, file: str = "") -> None:
    """Raise ValueInvalidError, which names the kinds `found`, where none is of `kinds`."""
    found = sorted(found)
    if set(found).isdisjoint(kinds):
        raise ValueInvalidError(
            f"no event is history: the kinds that count are {', '.join(kinds)}",
            file=file,
            column="kind",
            value=", ".join(found),
            hint="pass events of these kinds; without the column kind every event counts",
        )


def events_file(path: str | Path) -> Path:
    """The file of events of an imported log, where `path` is its folder; else `path` itself."""
    path = Path(path)
    inside = (path / "events.parquet", path / "events.csv")
    return next((file for file in inside if file.is_file()), path)
