"""Single models that learned nothing, with the small task's log: what is published and asked."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.delivery.training_log import HistoryLog
from tests.support.data.small_next_basket import catalogue
from tests.support.delivery.cascade_parts import histories


def past() -> HistoryLog:
    """What the users of the small task did, and who they are."""
    known = histories()
    users, item, time, lengths = known.arrays()
    table = pl.DataFrame(
        {
            "user_id": [user for user, n in zip(users, lengths, strict=True) for _ in range(n)],
            "item_id": pl.Series(["", *known.items.ids]).gather(item),
            "time": pl.from_epoch(pl.Series(time), "us").dt.replace_time_zone("UTC"),
        }
    )
    return HistoryLog(table, known.profiles)


def log() -> Log:
    """The same as a log of purchases, with its catalogue and users."""
    events = past().events.with_row_index("n")
    events = events.select(
        "user_id",
        "item_id",
        "time",
        event_id=pl.format("e{}", "n"),
        request_id=pl.format("r{}", "user_id"),
        kind=pl.lit("purchase"),
    )
    items = Catalogue.checked(catalogue())
    return Log(validate_events(events).lazy(), items, past().profiles)


def run_folder(folder: Path, what: str = "data") -> Path:
    """A run folder below `folder` whose config.json names the log that is saved beside it."""
    save_log(folder / "log", log())
    text = f'{{"{what}": {{"kind": "events", "path": "{folder / "log"}"}}}}'
    atomic_write_text(folder / "run" / "config.json", text)
    return folder / "run"
