"""A log and what a service has written since, as one log: the schema is the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from adwright.core.errors import ValueInvalidError
from adwright.data.history_kinds import take_back
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log

__all__ = ["JoinedLog", "join_logs"]

_log = logging.getLogger("adwright")


@dataclass(frozen=True)
class JoinedLog:
    """log: of both. old, served: events of each in it. repeated: events of the service that the
    old log has already, or that came twice; they count once. unknown: events of items that the
    catalogue lacks, which are left out. since: the earliest event that the service wrote. slated:
    the share of what users did there that was taken from slates of the service. shown: whether
    the old log says what was shown. returns: what became of purchases that came back, in words."""

    log: Log
    old: int
    served: int
    repeated: int
    unknown: int
    since: datetime
    slated: float = 0.0
    shown: bool = True
    returns: str = ""

    def sentences(self) -> list[str]:
        """What was joined, in words."""
        found = [
            f"{self.old:,} events of the old log and {self.served:,} that the service wrote, from "
            f"{self.since:%Y-%m-%d %H:%M} UTC on"
        ]
        if self.repeated:
            found.append(f"{self.repeated:,} events of the service were there already")
        if self.returns:
            found.append(self.returns)
        if self.slated:
            found.append(
                f"{self.slated:.0%} of what users did there was taken from slates that the service "
                "chose: asked about it, the model that chose them is ahead by that alone"
            )
        if self.unknown:
            found.append(
                f"{self.unknown:,} events are of items that the old log's catalogue lacks, and are "
                "left out: import the new items with the old log to keep them"
            )
        return found


def join_logs(old: Log, served: Sequence[pl.DataFrame]) -> JoinedLog:
    """Add the events that a service wrote to a log.

    served: tables in EVENT_SCHEMA; an event_id counts once, and the old log's event stands.
    Raises ValueInvalidError where nothing is added.
    """
    before = old.events.collect(engine="streaming")
    written = pl.concat(served) if served else before.clear()
    new = written.unique("event_id", keep="first", maintain_order=True)
    new = new.join(before.select("event_id"), on="event_id", how="anti", maintain_order="left")
    known = pl.col("item_id").is_in(old.catalogue.items["item_id"].implode())
    kept = new.filter(known | (pl.col("kind") == "redemption"))
    if not kept.height:
        raise ValueInvalidError(
            "the service wrote nothing that the old log has not",
            column="event_id",
            value=f"{written.height:,} events, {new.height:,} of them new",
            hint="name the folder that its events were compacted into, or the store itself",
        )
    events = pl.concat([before, kept]).sort("time", maintain_order=True)
    returns = take_back(events)
    if returns.returns:
        gone = pl.Series(returns.rows, dtype=pl.Int64).implode()
        events = events.filter(~pl.int_range(pl.len()).is_in(gone))
    pair = ["request_id", "item_id"]
    shown = kept.filter(kind="impression")
    done = kept.filter(pl.col("kind").is_in(list(ACTION_KINDS)))
    slated = done.join(shown.select(pair).unique(), on=pair, how="semi").height
    found = JoinedLog(
        log=Log(events.lazy(), old.catalogue, old.users),
        old=before.height,
        served=kept.height,
        repeated=written.height - new.height,
        unknown=new.height - kept.height,
        since=kept.sort("time").row(0, named=True)["time"],
        slated=slated / max(done.height, 1),
        shown=bool((before["kind"].cast(pl.String) == "impression").any()),
        returns=returns.text() if returns.returns else "",
    )
    if found.unknown:
        _log.warning("%s", found.sentences()[-1])
    return found
