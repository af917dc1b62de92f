"""The visits of a log of one's own: when a user came, what was taken, and which split it is in.

A visit is a request (a basket, a slate, an order): all that was taken in it counts at its first
moment, and nothing of it is its own history. A request that another one of the same user reaches
into counts by its moments, since the later of its events are history of the other. Where most users
have one request only, as where a request is a session, every moment is a visit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl

from adwright.core.errors import ValueInvalidError
from adwright.data.hashing import hash_order, sum_of_hashes
from adwright.data.history_kinds import check_history
from adwright.data.schema import ACTION_KINDS
from adwright.data.tasks.split import split_by_time, split_last

SplitRule = Literal["auto", "time", "last"]
#: What the times of a log are: instants, days, or places in a sequence.
TimeKind = Literal["instants", "days", "positions"]

_WHO = ["user_id", "request_id"]
_VISIT = [*_WHO, "time"]
#: Share of the test visits that must be of users whom training knows, for a split by time.
KNOWN_SHARE = 0.5
#: Visits that validation and test must have each, for a split by time.
LEAST_VISITS = 100
_PARTS = {"train": "visits train", "valid": "validate", "test": "test"}
#: Times before this one count something else than the time since 1970.
_REAL = datetime(1971, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogVisits:
    """events: user_id, request_id, item_id, time, sorted by user and time. kinds: of events that
    count. why: what a visit is, in words."""

    events: pl.DataFrame
    kinds: tuple[str, ...]
    why: str


def read_visits(
    events: pl.LazyFrame,
    kinds: Sequence[str] = (),
    *,
    min_value: float | None = None,
) -> LogVisits:
    """The visits of an EventLog.

    kinds: of events that are taken and make up the histories; none for all of ACTION_KINDS that
    the log has. min_value: events of a lower value, or of none, are left out.
    Raises ValueInvalidError where no event counts, naming the kinds that there are.
    """
    there = events.select(pl.col("kind").cast(pl.String).unique()).collect()["kind"].to_list()
    wanted = tuple(kind for kind in (kinds or ACTION_KINDS) if kind in there)
    check_history(there, kinds or ACTION_KINDS)
    taken = pl.col("kind").cast(pl.String).is_in(list(wanted))
    if min_value is not None:
        taken &= (pl.col("value") >= min_value).fill_null(value=False)
    found = events.filter(taken).select(*_WHO, "item_id", "time").collect(engine="streaming")
    if not found.height:
        raise ValueInvalidError(
            "no event is left to learn from",
            column="value",
            value=min_value,
            hint="lower min_value",
        )
    shown = events.filter(pl.col("kind").cast(pl.String) == "impression").select(_VISIT)
    shown = shown.join(found.lazy().select(_WHO).unique(), on=_WHO, how="semi")
    return _of_requests(found, shown.collect(engine="streaming"), wanted)


def _of_requests(found: pl.DataFrame, shown: pl.DataFrame, kinds: tuple[str, ...]) -> LogVisits:
    """found: what was taken. shown: impressions of the same requests."""
    moments = pl.concat([found.select(_VISIT), shown]).unique()
    moments = moments.sort("user_id", "time", "request_id")
    run = pl.struct(_WHO).rle_id().alias("run")
    requests = (
        moments.with_columns(run)
        .group_by(_WHO)
        .agg(first=pl.col("time").min(), runs=pl.col("run").n_unique())
    )
    of_user = moments.group_by("user_id").agg(
        requests=pl.col("request_id").n_unique(), moments=pl.col("time").n_unique()
    )
    several = of_user.select(pl.col("requests", "moments") >= 2).mean().row(0)
    what = f"of {', '.join(kinds)}"
    if several[0] < 0.5 <= several[1]:
        why = f"each moment {what}: {several[0]:.0%} of the users have two requests"
        return LogVisits(found.sort("user_id", "time", "request_id"), kinds, why)
    alone = pl.col("runs") == 1
    events = (
        found.join(requests, on=_WHO, how="left", maintain_order="left")
        .with_columns(time=pl.when(alone).then(pl.col("first")).otherwise(pl.col("time")))
        .select(found.columns)
        .sort("user_id", "time", "request_id")
    )
    torn = requests.filter(~alone).height
    more = f"; {torn:,} that others reach into count by their moments" if torn else ""
    return LogVisits(events, kinds, f"each request {what}, at its first moment{more}")


def time_kind(time: pl.Series) -> TimeKind:
    """What the times [N] (UTC) are.

    >>> time_kind(pl.Series([datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2)]))
    'days'
    """
    latest = time.max()
    if isinstance(latest, datetime) and latest < _REAL:
        return "positions"
    return "days" if time.dt.time().n_unique() == 1 else "instants"


def split_visits(
    events: pl.DataFrame,
    rule: SplitRule = "auto",
    *,
    shares: tuple[float, float] = (0.8, 0.1),
    dates: tuple[datetime, datetime] | None = None,
) -> tuple[pl.DataFrame, str]:
    """The events of `LogVisits` with the column `split`, and how it was cut, in words.

    rule: "time", so that validation and test come after training; "last", the last visit of each
    user with three visits tests, the one before it validates; "auto", by time where users come
    back: where the times are real, validation and test have 100 visits each, and half of the test
    visits are of users whom training knows.
    shares: of the visits, in order of time, that train and validate. dates: the first instants of
    validation and test, in their place. Raises ValueInvalidError where a split is empty.
    """
    visits = events.select(_VISIT).unique().sort("time", "user_id", "request_id")
    if dates is None:
        ends = [min(int(visits.height * s), visits.height - 1) for s in (shares[0], sum(shares))]
        cut = (visits["time"][ends[0]], visits["time"][ends[1]])
    else:
        cut = dates
    by_time = split_by_time(pl.col("time"), *cut)
    why_not = ""
    if rule == "auto" and dates is None:
        why_not = _against_time(visits.with_columns(by_time))
    if rule == "last" or why_not:
        return _by_last(events, visits, why_not)
    found = events.with_columns(by_time)
    _check_splits(found, f"{cut[0]:%Y-%m-%d %H:%M} and {cut[1]:%Y-%m-%d %H:%M}")
    parts = dict(visits.with_columns(by_time).group_by("split").len().iter_rows())
    counted = ", ".join(f"{parts[name]:,} {what}" for name, what in _PARTS.items())
    return found, (
        f"by time: {counted}; validation from {cut[0]:%Y-%m-%d %H:%M} UTC, test from "
        f"{cut[1]:%Y-%m-%d %H:%M} UTC"
    )


def _against_time(visits: pl.DataFrame) -> str:
    """Why a split by time would not do; nothing where it does."""
    if time_kind(visits["time"]) == "positions":
        return "the times are places in a sequence"
    held = [visits.filter(pl.col("split") == name).height for name in ("valid", "test")]
    if min(held) < LEAST_VISITS:
        return f"by time a split would have {min(held):,} visits"
    known = visits.filter(pl.col("split") == "train")["user_id"].unique()
    test = visits.filter(pl.col("split") == "test")["user_id"]
    share = float(np.mean(test.is_in(known.implode()).to_numpy()))
    if share < KNOWN_SHARE:
        return f"by time {share:.0%} of the test visits would be of users whom training knows"
    return ""


def _by_last(events: pl.DataFrame, visits: pl.DataFrame, why_not: str) -> tuple[pl.DataFrame, str]:
    number, place = pl.len().over("user_id"), pl.int_range(pl.len()).over("user_id")
    # Users of two visits would test on one event of validation: they train.
    left = pl.when(number >= 3).then(number - 1 - place).otherwise(2)
    cut = visits.sort("user_id", "time", "request_id").with_columns(split_last(left))
    found = events.join(cut.select(*_VISIT, "split"), on=_VISIT, how="left", maintain_order="left")
    _check_splits(found, "the last two visits of users with three")
    tested = cut.filter(pl.col("split") == "test").height
    reason = f" ({why_not})" if why_not else ""
    return found, (
        f"the last visit of each of the {tested:,} users with three tests, the one before it "
        f"validates{reason}"
    )


def _check_splits(events: pl.DataFrame, cut: str) -> None:
    for name in ("train", "valid", "test"):
        if not (events["split"] == name).any():
            raise ValueInvalidError(
                f"the {name} split has no visit",
                column="time",
                value=cut,
                hint="choose other dates or shares, or split by the last visits of each user",
            )


def visits_digest(events: pl.DataFrame) -> str:
    """A hash of the rows, whatever their order."""
    return f"{events.height}-{sum_of_hashes(hash_order(events, events.columns, 0))}"
