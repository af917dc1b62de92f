"""What `GET /v1/stops` answers: the stopped items and creatives, who stopped them, when and why."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from adwright.data.stops import Stops

__all__ = ["StopOut", "StoppedCreative", "StoppedItem", "StopsOut", "stops_out"]

_STOP = {
    "event_id": "stop-0001",
    "time": "2024-06-01T18:30:07Z",
    "stopped_by": "rule:wear-out",
    "why": {"reason": "wear-out", "days_left": 2},
}


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StopOut(_Out):
    """A stop that counts."""

    event_id: str
    time: datetime
    stopped_by: str = Field(description="The user_id of the event: a person or a rule.")
    why: dict[str, Any] | None = Field(description="The context of the event.")


class StoppedCreative(StopOut):
    """A creative that is stopped itself."""

    creative_id: str


class StoppedItem(_Out):
    """An item that is stopped, or some of whose creatives are."""

    item_id: str
    hidden: bool = Field(
        description="It is not shown: it is stopped itself, or all its creatives are."
    )
    stop: StopOut | None = Field(description="That of the item itself; null: there is none.")
    creatives: list[StoppedCreative]


class StopsOut(_Out):
    """What is stopped of the tenant's, by item."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "at": "2024-06-01T18:30:08Z",
                    "items": [
                        {"item_id": "1029743", "hidden": True, "stop": _STOP, "creatives": []}
                    ],
                }
            ]
        },
    )
    at: datetime | None = Field(
        description="When this process last read the stops; null: nothing was ever stopped."
    )
    items: list[StoppedItem]


def stops_out(stops: Stops | None, *, after: str | None, limit: int) -> StopsOut:
    """At most `limit` of the items after the id `after`, by id."""
    if stops is None:
        return StopsOut(at=None, items=[])
    table = stops.table if after is None else stops.table.filter(pl.col("item_id") > after)
    ids = table["item_id"].unique(maintain_order=True).head(limit)
    items: dict[str, StoppedItem] = {
        item_id: StoppedItem(
            item_id=item_id, hidden=item_id in stops.items, stop=None, creatives=[]
        )
        for item_id in ids
    }
    for row in table.filter(pl.col("item_id").is_in(ids.implode())).iter_rows(named=True):
        item = items[row["item_id"]]
        fields = {"event_id": row["event_id"], "time": row["time"], "stopped_by": row["user_id"]}
        fields["why"] = None if row["context"] is None else json.loads(row["context"])
        if row["creative_id"] is None:
            items[row["item_id"]] = item.model_copy(update={"stop": StopOut(**fields)})
        else:
            item.creatives.append(StoppedCreative(creative_id=row["creative_id"], **fields))
    return StopsOut(at=stops.at, items=list(items.values()))
