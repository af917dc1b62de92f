"""A log and what a service has written since, as one log: the schema is the same.

What was written is looked at before anything learns from it: events from the future, a few users or
one item that flood it, and a feed that has run dry are faults, with which nothing is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from adwright.core.errors import ValueInvalidError
from adwright.data.history_kinds import take_back
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.stages.histories import microseconds

#: A clock may be ahead by so much.
_AHEAD = timedelta(hours=1)
#: Shares of what was written that are a fault: events from the future, of items without a past,
#: of users who do several times what the busiest did, of an item that had a tenth of it before.
_FUTURE, _STRANGE, _FLOOD = 0.01, 0.5, 0.05
_BUSIER, _RISEN = 3.0, 10.0
#: Of an item that came up so, by users who did nothing else; twice as many as usual, or nearly all.
_LONE, _ALONE = 0.5, 0.9
#: The busiest are beyond this share of the days of all users.
_USUAL = 0.999
#: A feed of less than this share of what came before has run dry; where its last part begins.
_DRY, _LAST = 0.1, 0.8
#: Actions before and since from which on such shares say something.
_ENOUGH = 200


@dataclass(frozen=True)
class JoinedLog:
    """log: of both. old, served: events of each in it. repeated: events of the service that the
    old log has already, or that came twice; they count once. since: the earliest event that the
    service wrote. until: the latest of the old log, microseconds since 1970. slated: the share of
    what users did there that was taken from slates of the service. shown: whether the old log says
    what was shown. notes: further sentences. faults: what is wrong with the feed, in sentences."""

    log: Log
    old: int
    served: int
    repeated: int
    since: datetime
    until: int
    slated: float = 0.0
    shown: bool = True
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """What was joined, in words."""
        found = [
            f"{self.old:,} events of the old log and {self.served:,} that the service wrote, from "
            f"{self.since:%Y-%m-%d %H:%M} UTC on"
        ]
        if self.repeated:
            found.append(f"{self.repeated:,} events of the service were there already")
        if self.slated:
            found.append(
                f"{self.slated:.0%} of what users did there was taken from slates that the service "
                "chose: asked about it, the model that chose them is ahead by that alone"
            )
        return [*found, *self.notes, *(f"broken feed: {fault}" for fault in self.faults)]


def join_logs(old: Log, served: Sequence[pl.DataFrame], now: datetime | None = None) -> JoinedLog:
    """Add the events that a service wrote to a log.

    served: tables in EVENT_SCHEMA; an event_id counts once, and the old log's event stands. Items
    that the catalogue lacks are added with their ids. now: events that are later are left out, and
    are a fault where they are more than one in a hundred; None looks at no time.
    Raises ValueInvalidError where nothing is added, or most of its items are of another catalogue.
    """
    before = old.events.collect(engine="streaming")
    written = pl.concat(served) if served else before.clear()
    new = written.unique("event_id", keep="first", maintain_order=True)
    new = new.join(before.select("event_id"), on="event_id", how="anti", maintain_order="left")
    kept = new if now is None else new.filter(pl.col("time") <= now + _AHEAD)
    if not kept.height:
        future = f", {new.height:,} of them dated later than now" if new.height else ""
        raise ValueInvalidError(
            "the service wrote nothing that the old log has not",
            column="event_id",
            value=f"{written.height:,} events{future}",
            hint="name the folder that its events were compacted into, or the store itself",
        )
    known, late = old.catalogue.items, new.height - kept.height
    strange = kept.filter(pl.col("kind") != "redemption").join(known, on="item_id", how="anti")
    missing, notes = strange.select(pl.col("item_id").unique().sort()), []
    if missing.height:
        notes.append(
            f"{strange.height:,} events are of {missing.height:,} items that the old log has not, "
            f"such as {missing.item(0, 0)!r:.60}: they are taken in"
        )
    if missing.height and known.width > 1:
        notes[-1] += (
            " by their ids alone; import the old log again with an items table that has them "
            "(`adwright data import --items`), and models learn from its columns, too"
        )
    if late:
        notes.append(f"{late:,} events of the service are dated later than now, and are left out")
    events = pl.concat([before, kept]).sort("time", maintain_order=True)
    returns = take_back(events)
    if returns.returns:
        gone = pl.Series(returns.rows, dtype=pl.Int64).implode()
        events = events.filter(~pl.int_range(pl.len()).is_in(gone))
        notes.append(returns.text())
    pair = ["request_id", "item_id"]
    shown = kept.filter(kind="impression")
    done, past = _actions(kept), _actions(before)
    slated = done.join(shown.select(pair).unique(), on=pair, how="semi").height
    latest = before["time"].max()
    return JoinedLog(
        log=Log(
            events.lazy(),
            replace(old.catalogue, items=pl.concat([known, missing], how="diagonal")),
            old.users,
        ),
        old=before.height,
        served=kept.height,
        repeated=written.height - new.height,
        since=kept.sort("time").row(0, named=True)["time"],
        until=microseconds(latest) if isinstance(latest, datetime) else 0,
        slated=slated / max(done.height, 1),
        shown=bool((before["kind"].cast(pl.String) == "impression").any()),
        notes=tuple(notes),
        faults=_faults(past, done, shown, late / new.height, strange.height / kept.height),
    )


def _actions(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("kind").is_in(list(ACTION_KINDS)))


def _faults(
    past: pl.DataFrame, done: pl.DataFrame, shown: pl.DataFrame, future: float, strange: float
) -> tuple[str, ...]:
    """What speaks against learning from a feed. past, done: what users did before, and in it;
    shown: its impressions. future, strange: shares of its events that are later than now, and of
    items without a past."""
    found, usual_strange = [], _strange(past)
    if strange > usual_strange + _STRANGE * (1 - usual_strange):
        found.append(
            f"{strange:.0%} of its events are of items without a past, where {usual_strange:.0%} "
            "were in the last part of the old log: is it of this shop?"
        )
    if future > _FUTURE:
        found.append(f"{future:.1%} of its events are dated later than now: mend its clock")
    if not done.height:
        found.append("nobody did anything in it: impressions alone teach nothing")
    if past.height < _ENOUGH or not done.height:
        return tuple(found)
    dry = _dried(past, done, shown)
    if dry:
        found.append(dry)
    if done.height < _ENOUGH:
        return tuple(found)
    per_day = ["user_id", pl.col("time").dt.date().alias("day")]
    usual = int(past.group_by(per_day).len()["len"].quantile(_USUAL, "higher") or 0)
    busy = done.group_by(per_day).len().filter(pl.col("len") > _BUSIER * usual)
    share = float(busy["len"].sum()) / done.height
    if share > _FLOOD:
        found.append(
            f"{share:.1%} of what was done is of {busy['user_id'].n_unique():,} users who did more "
            f"than {_BUSIER * usual:,.0f} things in a day, where hardly anybody did more than "
            f"{usual:,} before, such as {busy['user_id'][0]!r:.60}: are they people?"
        )
    flood = _flooded(past, done)
    return (*found, flood) if flood else tuple(found)


def _strange(past: pl.DataFrame) -> float:
    """Share of the last part of a log that is of items without a past before it."""
    ordered = past.sort("time")
    early, late = ordered[: int(_LAST * past.height)], ordered[int(_LAST * past.height) :]
    new = late.join(early, on="item_id", how="anti").height
    return new / late.height if early.height else 0.0


def _flooded(past: pl.DataFrame, done: pl.DataFrame) -> str:
    """That an item came up all at once, by users who never did anything else; a hit is taken by
    those who take other things, too."""
    pairs = pl.concat([past, done]).select("user_id", "item_id").unique()
    alone = pairs.filter(~pl.col("user_id").is_duplicated())["user_id"]
    lone = pl.col("user_id").is_in(alone.implode()).mean()
    usual = float(done.select(lone).item())
    had = past.group_by("item_id").agg((pl.len() / past.height).alias("had"))
    share = pl.len() / done.height
    has = done.group_by("item_id").agg(share.alias("has"), lone.alias("lone"))
    odd = (
        has.join(had, on="item_id", how="left")
        .with_columns(pl.col("had").fill_null(0.0))
        .filter(
            pl.col("has") * pl.col("lone")
            > pl.max_horizontal(pl.lit(_FLOOD), _RISEN * pl.col("had")),
            pl.col("lone") > min(max(_LONE, 2 * usual), _ALONE),
        )
    )
    if not odd.height:
        return ""
    one = odd.sort("has", descending=True).row(0, named=True)
    return (
        f"{one['has']:.1%} of what was done is of the item {one['item_id']!r:.60}, which had "
        f"{one['had']:.2%} before, and {one['lone']:.0%} of it by users who never did anything "
        "else: are they people?"
    )


def _dried(past: pl.DataFrame, done: pl.DataFrame, shown: pl.DataFrame) -> str:
    """That less comes than before: of what was shown less is taken in the last fifth; or, in a feed
    that says nothing of what was shown, less is done in a day than in the old log."""
    if shown.height:
        cut = shown["time"].sort()[int(_LAST * shown.height)]
        early, late = (
            (done.filter(part).height, shown.filter(part).height)
            for part in (pl.col("time") < cut, pl.col("time") >= cut)
        )
        if early[0] < _ENOUGH or late[0] * early[1] >= _DRY * early[0] * late[1]:
            return ""
        return (
            f"of its last {late[1]:,} impressions {late[0]:,} things were done, of the "
            f"{early[1]:,} before them {early[0]:,}: does all of it arrive?"
        )
    before, since = past["time"].dt.epoch("us").to_numpy(), done["time"].dt.epoch("us").to_numpy()
    span = max(int(since.max() - since.min()), MICROSECONDS_PER_DAY)
    as_long = int((before > before.max() - span).sum())
    if as_long < _ENOUGH or done.height >= _DRY * as_long:
        return ""
    return (
        f"it has {done.height:,} actions in {span / MICROSECONDS_PER_DAY:.1f} days, and the old "
        f"log {as_long:,} in its last days of that number: does all of it arrive?"
    )
