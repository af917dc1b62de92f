"""The events that carry a list out, and those that take it back; see `adwright.data.stops`.

A stop names an item, or an item and a creative of it, and takes that down wherever it runs. So
units are **held back** where another unit of the same item and creative is not to be stopped: one
display of a product in one store cannot be stopped by an event about the product.

The ids of events follow from the list's: to apply a list twice stops once.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.listing.stop_list import RetirementList
from adwright.data.schema import validate_events

__all__ = ["held_back", "stop_events", "undo_events"]

_DAYS = {"day": 1, "week": 7}
_SHOWN = 5


def stop_events(
    plan: RetirementList, by: str, at: datetime, *, leave_out: Collection[str] = ()
) -> pl.DataFrame:
    """A "stop" event for each unit to stop, in EVENT_SCHEMA, of value 1.

    by: the person or rule that stops. at: the moment from which on they count, with a time zone.
    leave_out: ids of units that are not to be stopped after all; so are those that are held back.
    context: action, cause, ending, days_left (null where more than the curve knows), saving with
    its unit, and the list's id.

    Raises DataError that names units without an item, ConfigError for an unknown unit, nobody, or
    a moment without a time zone.
    """
    return _events(plan, by, at, leave_out, "stop")


def undo_events(
    plan: RetirementList, by: str, at: datetime, *, leave_out: Collection[str] = ()
) -> pl.DataFrame:
    """The events that take back what `stop_events` stopped, and nothing else: the same, of value 0,
    each with the event_id of its stop as `undoes` of the context. Raises as `stop_events`."""
    return _events(plan, by, at, leave_out, "undo")


def held_back(plan: RetirementList, *, leave_out: Collection[str] = ()) -> pl.DataFrame:
    """Units to stop that share their item and creative with units that are not, by net saving:
    unit_id, name, item_id, creative_id, and others, how many go on."""
    stops = _to_stop(plan, leave_out)
    going = plan.units.join(stops, on="unit_id", how="anti")
    # A stop of an item takes down all units of it, one of a creative those of the creative.
    of_item = going.group_by("item_id").agg(others=pl.len())
    of_creative = going.drop_nulls("creative_id").group_by("item_id", "creative_id")
    whole = stops.filter(pl.col("creative_id").is_null()).join(of_item, on="item_id")
    pair = ["item_id", "creative_id"]
    single = stops.join(of_creative.agg(others=pl.len()), on=pair)
    found = pl.concat([whole, single]).sort("net", "unit_id", descending=[True, False])
    return found.select("unit_id", "name", *pair, "others")


def _events(
    plan: RetirementList,
    by: str,
    at: datetime,
    leave_out: Collection[str],
    what: Literal["stop", "undo"],
) -> pl.DataFrame:
    if not by:
        raise ConfigError("a stop needs somebody behind it", where="by", hint="name who or what")
    if at.tzinfo is None:
        raise ConfigError(
            "the moment of a stop has no time zone", where=f"{at}", hint="give it in UTC"
        )
    stops = _to_stop(plan, leave_out)
    homeless = stops.filter(pl.col("item_id").is_null())
    if len(homeless):
        raise DataError(
            f"{len(homeless):,} units to stop have no item_id, so no event can name them",
            column="item_id",
            value=", ".join(_called(homeless)),
            hint="give a catalogue of creatives, which says what each shows, or leave them out",
        )
    held = held_back(plan, leave_out=leave_out)
    stops = stops.join(held, on="unit_id", how="anti", maintain_order="left")
    facts, short = plan.facts, plan.id[:16]
    contexts = [
        json.dumps(
            {
                "action": what,
                "cause": row["cause"],
                "ending": row["ending"],
                "days_left": _days(row["left"], facts.unit),
                "saving": round(row["saving"], 4),
                "saving_in": facts.cost_name,
                "list": plan.id,
                **({"undoes": [f"stop:{short}:{row['unit_id']}"]} if what == "undo" else {}),
            }
        )
        for row in stops.iter_rows(named=True)
    ]
    return validate_events(
        stops.select(
            event_id=pl.format("{}:{}:{}", pl.lit(what), pl.lit(short), "unit_id"),
            time=pl.lit(at.astimezone(UTC), pl.Datetime("us", "UTC")),
            request_id=pl.lit(f"retire:{short}"),
            user_id=pl.lit(by),
            kind=pl.lit("stop"),
            item_id="item_id",
            creative_id="creative_id",
            value=pl.lit(1.0 if what == "stop" else 0.0),
            context=pl.Series(contexts, dtype=pl.String),
        )
    )


def _to_stop(plan: RetirementList, leave_out: Collection[str]) -> pl.DataFrame:
    known = plan.units["unit_id"]
    for unit in sorted(set(leave_out) - set(known)):
        close = closest_name(unit, known.to_list())
        raise ConfigError(
            f"there is no unit {unit!r} on the list to leave out",
            where="leave_out",
            hint=f"did you mean {close!r}?" if close else "see the column unit_id",
        )
    return plan.stops.filter(~pl.col("unit_id").is_in(list(leave_out)))


def _called(units: pl.DataFrame) -> list[str]:
    named = pl.format("{} ({})", "name", "unit_id").fill_null(pl.col("unit_id"))
    found: list[str] = units.head(_SHOWN).select(named).to_series().to_list()
    return [*found, "..."] if len(units) > _SHOWN else found


def _days(periods: float, unit: str) -> int | None:
    return int(periods) * _DAYS[unit] if np.isfinite(periods) else None
