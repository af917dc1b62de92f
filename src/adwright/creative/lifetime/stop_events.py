"""The events that carry a list out, and those that take it back; see `adwright.data.stops`.

A stop names an item, or an item and a creative of it, and takes that down wherever it runs. So
units are **held back** where another unit of the same item and creative is not to be stopped: one
display of a product in one store cannot be stopped by an event about the product.

The ids of events follow from the list's: to apply a list twice stops once.

Carry a list out, or take it back: into a file of events, or through a writer such as a store's.

    apply_stops(plan, Path("log/events.parquet"), "anna", now, log=lives.log)
    apply_stops(plan, lambda events: store.record_events(tenant, events).accepted, ...)
    apply_stops(plan, ..., undo=True)

What is in the file already stays as it is, and an event_id counts once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from adwright.core.atomic import atomic_write_bytes, locked
from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.lives import LifeLog
from adwright.creative.lifetime.stop_list import RetirementList
from adwright.data.schema import EVENT_SCHEMA, as_events, check_items_known, validate_events
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import write_events

_DAYS = {"day": 1, "week": 7}
_SHOWN = 5


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


def stop_events(
    plan: RetirementList,
    by: str,
    at: datetime,
    *,
    leave_out: Collection[str] = (),
    undo: bool = False,
) -> pl.DataFrame:
    """A "stop" event for each unit to stop, in EVENT_SCHEMA, of value 1.

    by: the person or rule that stops. at: the moment from which on they count, with a time zone.
    leave_out: ids of units that are not to be stopped after all; so are those that are held back.
    context: action, cause, ending, days_left (null where more than the curve knows), saving with
    its unit, and the list's id. undo: the events that take these back, and nothing else: the same,
    of value 0, each with the event_id of its stop as `undoes` of the context.

    Raises DataError that names units without an item, ConfigError for an unknown unit, nobody, or
    a moment without a time zone.
    """
    what = "undo" if undo else "stop"
    if not by:
        raise ConfigError("a stop needs somebody behind it", where="by", hint="name who or what")
    if at.tzinfo is None:
        raise ConfigError(
            "the moment of a stop has no time zone", where=f"{at}", hint="give it in UTC"
        )
    stops = _to_stop(plan, leave_out)
    homeless = stops.filter(pl.col("item_id").is_null())
    if len(homeless):
        named = pl.format("{} ({})", "name", "unit_id").fill_null(pl.col("unit_id"))
        some = homeless.head(_SHOWN).select(named).to_series().to_list()
        raise DataError(
            f"{len(homeless):,} units to stop have no item_id, so no event can name them",
            column="item_id",
            value=", ".join([*some, *(["..."] if len(homeless) > _SHOWN else [])]),
            hint="give a catalogue of creatives, which says what each shows, or leave them out",
        )
    held = held_back(plan, leave_out=leave_out)
    stops = stops.join(held, on="unit_id", how="anti", maintain_order="left")
    facts, short, days = plan.facts, plan.id[:16], _DAYS[plan.facts.unit]
    contexts = [
        json.dumps(
            {
                "action": what,
                "cause": row["cause"],
                "ending": row["ending"],
                "days_left": int(row["left"]) * days if np.isfinite(row["left"]) else None,
                "saving": round(row["saving"], 4),
                "saving_in": facts.cost_name,
                "list": plan.id,
                **({"undoes": [f"stop:{short}:{row['unit_id']}"]} if undo else {}),
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
            value=pl.lit(0.0 if undo else 1.0),
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


#: Takes events in EVENT_SCHEMA and says how many of them were new, by their ids.
EventWriter: TypeAlias = Callable[[pl.DataFrame], int]
_PARQUET, _LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")


@dataclass(frozen=True, eq=False)
class AppliedStops:
    """What became of a list. events: in EVENT_SCHEMA, all that it asks for. new: how many of them
    were not there before; None in a dry run of a writer, which is not asked. held_back: units that
    were not stopped, since units of the same item and creative go on (`held_back`).
    undo, dry_run: as asked. where: they were, or would be, written."""

    events: pl.DataFrame
    new: int | None
    held_back: pl.DataFrame
    undo: bool
    dry_run: bool
    where: str

    def text(self) -> str:
        """In plain words."""
        what = "taken back" if self.undo else "stopped"
        count = len(self.events) if self.new is None else self.new
        said = [f"{'would be ' if self.dry_run else ''}{what}: {count:,} units, in {self.where}"]
        if self.new is not None and self.new < len(self.events):
            again = "" if self.undo else "; what was taken back since needs a new list"
            said.append(
                f"there already: {len(self.events) - self.new:,} events of this list{again}"
            )
        if held := len(self.held_back):
            items = self.held_back["item_id"].n_unique()
            said.append(
                f"held back: {held:,} units of {items:,} items whose other units go on, which a "
                "stop would take down as well"
            )
        return "\n".join(said) + "\n"


def apply_stops(
    plan: RetirementList,
    target: str | Path | EventWriter,
    by: str,
    at: datetime,
    *,
    log: LifeLog | None,
    leave_out: Collection[str] = (),
    undo: bool = False,
    dry_run: bool = False,
) -> AppliedStops:
    """Write the stops of a list, or with `undo` the events that take them back.

    target: a writer; or a file of events in EVENT_SCHEMA, .parquet or .jsonl, that is made where
    there is none; or a folder, of whose events.parquet, or of whose parts in Parquet, they become
    a part. A file is written whole or not at all. by, at, leave_out: see `stop_events`. log:
    the record as it is now: a list that was made from another one is refused; None takes it as it
    is. To take back is always allowed. dry_run: write nothing.

    Raises ConfigError for a list that is out of date, SchemaError for a file or folder that is not
    one of events, ValueInvalidError for an item that the items beside an events.parquet lack,
    ResourceError where it cannot be written, and as `stop_events`.
    """
    if log is not None and not undo:
        plan.check_current(log)
    events = stop_events(plan, by, at, leave_out=leave_out, undo=undo)
    new: int | None = None
    if isinstance(target, str | Path):
        path = _file_of(Path(target), plan, undo=undo)
        where = str(path)
        items = path.with_name("items.parquet")
        if path.name == "events.parquet" and items.is_file():
            # A log with an item that its catalogue lacks could not be opened any more.
            check_items_known(events, pl.read_parquet(items, columns=["item_id"]), file=where)
        new = _added(path, events, dry_run=dry_run)
    else:
        where = "the log behind the writer"
        if not dry_run:
            new = target(events) if len(events) else 0
    held = held_back(plan, leave_out=leave_out)
    return AppliedStops(events, new, held, undo, dry_run, where)


def _file_of(target: Path, plan: RetirementList, *, undo: bool) -> Path:
    """The file that the events go into."""
    if not target.is_dir():
        if target.suffix.lower() not in _PARQUET + _LINES:
            raise SchemaError(
                "events are written to Parquet or to JSON lines",
                file=str(target),
                hint="name a folder, or a file that ends in .parquet or .jsonl",
            )
        return target
    whole = target / "events.parquet"
    if whole.is_file():
        return whole
    if (target / "events.csv").is_file():
        raise SchemaError(
            "the events of this folder are CSV, to which nothing is added",
            file=str(target),
            hint="save the log as Parquet, or name a file of its own for the stops",
        )
    part = target / f"retire-{plan.id[:16]}-{'undo' if undo else 'stop'}.parquet"
    if any(target.rglob("*.parquet")):
        names = as_frame(target).frame.collect_schema().names()
        if sorted(names) != sorted(EVENT_SCHEMA.names):
            raise SchemaError(
                "the parts in this folder have other columns than events",
                file=str(target),
                value=", ".join(names),
                hint="name a file of its own for the stops",
            )
    return part


def _added(path: Path, events: pl.DataFrame, *, dry_run: bool) -> int:
    """How many of the events were not in the file; they are now, but for a dry run."""
    if dry_run:
        return len(_missing(path, events)[0])
    with locked(path.with_name(f".{path.name}.lock")):
        missing, there = _missing(path, events)
        if len(missing):
            if path.suffix.lower() in _PARQUET:
                frames = [] if there is None else [as_events(there)]
                write_events(path, pl.concat([*frames, missing.lazy()]))
            else:
                _add_lines(path, missing, there)
    return len(missing)


def _missing(path: Path, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.LazyFrame | None]:
    """(those of the events that are not in the file, what is in it)."""
    if not path.exists():
        return events, None
    there = as_frame(path).frame
    if "event_id" not in there.collect_schema().names():
        raise SchemaError("this is no file of events", file=str(path), column="event_id")
    known = there.filter(pl.col("event_id").is_in(events["event_id"].implode()))
    ids = known.select("event_id").collect(engine="streaming")
    return events.join(ids, on="event_id", how="anti", maintain_order="left"), there


def _add_lines(path: Path, events: pl.DataFrame, there: pl.LazyFrame | None) -> None:
    old = path.read_bytes() if path.exists() else b""
    if old and not old.endswith(b"\n"):
        old += b"\n"
    context = None if there is None else there.collect_schema().get("context")
    lines = []
    for row in events.with_columns(pl.col("time").dt.to_string("iso:strict")).iter_rows(named=True):
        if isinstance(context, pl.Struct):  # as the file has it, objects and not their text
            row["context"] = json.loads(row["context"])
        lines.append(json.dumps({name: value for name, value in row.items() if value is not None}))
    atomic_write_bytes(path, old + ("\n".join(lines) + "\n").encode())
