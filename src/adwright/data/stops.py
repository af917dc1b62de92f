"""What is stopped at a moment, by the events of kind "stop" in a log.

    {"kind": "stop", "item_id": "i7", "creative_id": "c3", "user_id": "anna", "value": null, ...}

Such an event names an item and perhaps one creative of it; `user_id` is who stopped it, a person
or the name of a rule. With value 0 it takes the stop back; with any other, or none, it stops. Of
several about the same (item_id, creative_id) the latest counts, and of the same instant the one
with the last event_id. One that is dated in the future does not count until then.

A stop without creative_id stops the item for all. One with a creative_id stops that creative; an
item is not shown either when all its creatives in the catalogue are stopped. Each of the two is
taken back by an event of its own kind only. `context` may say why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

__all__ = ["Stops", "stopped"]

_PAIR = ["item_id", "creative_id"]
_COLUMNS = [*_PAIR, "time", "user_id", "event_id", "context"]


@dataclass(frozen=True, eq=False)
class Stops:
    """What is stopped at the moment `at`.

    items: those that must not be shown, stopped themselves or with all their creatives.
    creatives: those that are stopped themselves. table: one row for each stop that counts, by
    item_id and creative_id (null first): who (user_id), when (time), why (context, a JSON object
    or null), and the event_id. changes: the first instant after `at` at which an event that is
    there already begins to count; None where there is none.
    """

    items: frozenset[str]
    creatives: frozenset[str]
    table: pl.DataFrame
    at: datetime
    changes: datetime | None


def stopped(events: pl.DataFrame, creatives: pl.DataFrame | None, at: datetime) -> Stops:
    """What is stopped at the moment `at`, in UTC.

    events: in EVENT_SCHEMA, in any order; other kinds than "stop" are skipped. creatives: of the
    catalogue, with item_id and creative_id; None where no item falls with its creatives.
    """
    stops = events.filter(pl.col("kind") == "stop")
    moment = pl.lit(at, pl.Datetime("us", "UTC"))
    ahead = stops.filter(pl.col("time") > moment)["time"].min()
    counting = (
        stops.filter(pl.col("time") <= moment)
        .sort("time", "event_id")
        .unique(_PAIR, keep="last")
        .filter(pl.col("value").is_null() | (pl.col("value") != 0))
        .select(_COLUMNS)
        .sort(_PAIR, nulls_last=False)
    )
    alone = counting.filter(pl.col("creative_id").is_null())["item_id"]
    made = counting.drop_nulls("creative_id")
    items = frozenset(alone)
    if creatives is not None:
        gone = creatives.join(made, on=_PAIR, how="semi")["item_id"]
        left = creatives.join(made, on=_PAIR, how="anti")["item_id"]
        items |= frozenset(gone) - frozenset(left)
    changes = ahead if isinstance(ahead, datetime) else None
    return Stops(items, frozenset(made["creative_id"]), counting, at, changes)
