"""What is stopped, by the events of kind "stop" in a log.

    {"kind": "stop", "event_id": "s1", "item_id": "i7", "creative_id": "c3", "user_id": "anna", ...}
    {"kind": "stop", "event_id": "s2", "item_id": "i7", "creative_id": "c3", "value": 0,
     "context": {"undoes": ["s1"]}, ...}

Such an event names an item and perhaps one creative of it; `user_id` is who stopped it, a person
or the name of a rule, and `context` may say why. With value 0 it takes stops back; with any other,
or none, it is a stop. Each stop stands by itself until it is taken back, and an item is not shown
while one stands, whoever takes another back.

An event of value 0 takes back earlier stops of the same (item_id, creative_id) alone: those that
`undoes` of its context names by their event_id; without, those of the same `list` of the context,
where it has one, and else those of the same user_id.

Their order is that of `time`, of one instant that of the rows: a store gives its stops times that
rise from one to the next as it took them in, see `adwright.campaigns.store.events`.

A stop without creative_id stops the item for all. One with a creative_id stops that creative; an
item is not shown either when all its creatives in the catalogue are stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

_PAIR = ["item_id", "creative_id"]
_COLUMNS = [*_PAIR, "time", "user_id", "event_id", "context"]


@dataclass(frozen=True, eq=False)
class Stops:
    """What is stopped.

    items: those that must not be shown, stopped themselves or with all their creatives.
    creatives: those that are stopped themselves. table: one row for each stop that stands, by
    item_id and creative_id (null first), the oldest first: who (user_id), when (time), why
    (context, a JSON object or null), and the event_id.
    """

    items: frozenset[str]
    creatives: frozenset[str]
    table: pl.DataFrame


def stopped(
    events: pl.DataFrame, creatives: pl.DataFrame | None, at: datetime | None = None
) -> Stops:
    """What is stopped by all these events, or by those up to the moment `at`, in UTC.

    events: in EVENT_SCHEMA; other kinds than "stop" are skipped. creatives: of the catalogue, with
    item_id and creative_id; None where no item falls with its creatives.
    """
    stops = events.filter(pl.col("kind") == "stop")
    if at is not None:
        stops = stops.filter(pl.col("time") <= pl.lit(at, pl.Datetime("us", "UTC")))
    stops = stops.sort("time", maintain_order=True)
    counting = (
        stops.filter(pl.Series(_standing(stops), dtype=pl.Boolean))
        .select(_COLUMNS)
        .sort(_PAIR, nulls_last=False, maintain_order=True)
    )
    alone = counting.filter(pl.col("creative_id").is_null())["item_id"]
    made = counting.drop_nulls("creative_id")
    items = frozenset(alone)
    if creatives is not None:
        gone = creatives.join(made, on=_PAIR, how="semi")["item_id"]
        left = creatives.join(made, on=_PAIR, how="anti")["item_id"]
        items |= frozenset(gone) - frozenset(left)
    return Stops(items, frozenset(made["creative_id"]), counting)


def _standing(stops: pl.DataFrame) -> list[bool]:
    """Of each row, in their order, whether it is a stop that none of the later ones takes back."""
    standing = [False] * stops.height
    places: dict[tuple[str, str | None], dict[str, int]] = {}
    rows = stops.select(*_PAIR, "event_id", "user_id", "value", "context").rows()
    for place, (item, creative, event_id, user_id, value, context) in enumerate(rows):
        mine = places.setdefault((item, creative), {})
        if value is None or value != 0:
            if event_id not in mine:  # an event_id counts once
                mine[event_id] = place
                standing[place] = True
            continue
        said = _said(context)
        if "undoes" in said:
            names = said["undoes"] if isinstance(said["undoes"], list) else [said["undoes"]]
            taken = [mine[one] for one in names if isinstance(one, str) and one in mine]
        elif "list" in said:
            taken = [
                one for one in mine.values() if _said(rows[one][5]).get("list") == said["list"]
            ]
        else:
            taken = [one for one in mine.values() if rows[one][3] == user_id]
        for one in taken:
            standing[one] = False
    return standing


def _said(context: str | None) -> dict[str, Any]:
    found = json.loads(context) if context else {}
    return found if isinstance(found, dict) else {}
