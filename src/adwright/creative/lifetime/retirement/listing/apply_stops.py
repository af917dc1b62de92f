"""Carry a list out, or take it back: into a file of events, or through a writer such as a store's.

    apply_stops(plan, Path("log/events.parquet"), "anna", now, log=lives.log)
    apply_stops(plan, lambda events: store.record_events(tenant, events).accepted, ...)
    apply_stops(plan, ..., undo=True)

What is in the file already stays as it is, and an event_id counts once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import polars as pl

from adwright.core.atomic import atomic_write_bytes, locked
from adwright.core.errors import SchemaError
from adwright.creative.lifetime.retirement.listing.stop_events import (
    held_back,
    stop_events,
    undo_events,
)
from adwright.creative.lifetime.retirement.listing.stop_list import RetirementList
from adwright.creative.lifetime.retirement.lives import LifeLog
from adwright.data.schema import EVENT_SCHEMA, as_events, check_items_known
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import write_events

__all__ = ["AppliedStops", "EventWriter", "apply_stops"]

#: Takes events in EVENT_SCHEMA and says how many of them were new, by their ids.
EventWriter: TypeAlias = Callable[[pl.DataFrame], int]
_PARQUET, _LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")


@dataclass(frozen=True, eq=False)
class AppliedStops:
    """What became of a list. events: in EVENT_SCHEMA, all that it asks for. new: how many of them
    were not there before; None in a dry run of a writer, which is not asked. held_back: units that
    were not stopped, since units of the same item and creative go on (`stop_events.held_back`).
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
    model_id: str = "",
    leave_out: Collection[str] = (),
    undo: bool = False,
    dry_run: bool = False,
) -> AppliedStops:
    """Write the stops of a list, or with `undo` the events that take them back.

    target: a writer; or a file of events in EVENT_SCHEMA, .parquet or .jsonl, that is made where
    there is none; or a folder, of whose events.parquet, or of whose parts in Parquet, they become
    a part. A file is written whole or not at all. by, at, leave_out: see `stop_events`. log,
    model_id: the record as it is now, and the model: a list that was made from another one is
    refused; None and "" take it as it is. To take back is always allowed. dry_run: write nothing.

    Raises ConfigError for a list that is out of date, SchemaError for a file or folder that is not
    one of events, ValueInvalidError for an item that the items beside an events.parquet lack,
    ResourceError where it cannot be written, and as `stop_events`.
    """
    if log is not None and not undo:
        plan.check_current(log, model_id)
    make = undo_events if undo else stop_events
    events = make(plan, by, at, leave_out=leave_out)
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
