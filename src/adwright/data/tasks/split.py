"""Cut a log into train, validation and test: by time, by week, or the last event of each user.

A split by time is the honest one for anything that will be used tomorrow: nothing of the
validation or test period is seen in training. Leave-one-out is what many papers report; it
lets one user's training events lie after another user's test event.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, NamedTuple, TypeVar, get_args

import polars as pl

from adwright.core.errors import ConfigError, SchemaError
from adwright.data.checks import Check, in_file, run_checks
from adwright.data.columns import present
from adwright.data.hashing import hash_order

__all__ = ["LeaveOneOut", "Split", "Ties", "leave_one_out", "time_split", "week_split"]

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
Ties = Literal["hash", "refuse"]


class Split(NamedTuple, Generic[Frame]):
    """Three disjoint parts that together are the whole."""

    train: Frame
    valid: Frame
    test: Frame


class LeaveOneOut(NamedTuple):
    """The split, and how much of it hangs on an order that the data do not give.

    tied_rows: share of rows that share their time with another row of the same user.
    tied_targets: share of test rows whose time another row of that user has too, so that the
        hash, not time, made them the last. 0 where there are no test rows.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    tied_rows: float
    tied_targets: float


def time_split(frame: Frame, time: str, valid_from: datetime, test_from: datetime) -> Split[Frame]:
    """Rows before `valid_from` train, before `test_from` validate, the rest test.

    time: a timestamp column with a zone, such as an EventLog's. Rows keep their order.
    Raises ConfigError where a bound has no zone or the two are in the wrong order,
    SchemaError where the column is absent or no such timestamp, ValueInvalidError for a null.
    """
    if valid_from.tzinfo is None or test_from.tzinfo is None:
        raise ConfigError(
            "the bounds of a split need a time zone",
            where=f"valid_from {valid_from}, test_from {test_from}",
            hint="write datetime(2017, 11, 1, tzinfo=UTC)",
        )
    dtype = _dtype(frame, time)
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise SchemaError(
            f"{time} must be a timestamp with a time zone, not {dtype}",
            column=time,
            hint="read the log with read_events, or split by week with week_split",
        )
    if not valid_from <= test_from:
        raise ConfigError(
            "validation must begin before test",
            where=f"valid_from {valid_from}, test_from {test_from}",
            hint="swap them",
        )
    run_checks(frame.lazy(), [present(time)], in_file(""))
    return _cut(frame, pl.col(time) < valid_from, pl.col(time) < test_from)


def week_split(frame: Frame, week: str, *, train_until: int, valid_until: int) -> Split[Frame]:
    """Weeks up to and including `train_until` train, up to `valid_until` validate, later test.

    week: an integer column. Rows keep their order.
    Raises ConfigError where the bounds are in the wrong order, SchemaError where the column is
    absent or no integer, ValueInvalidError for a null.
    """
    dtype = _dtype(frame, week)
    if not dtype.is_integer():
        raise SchemaError(
            f"{week} must be an integer, not {dtype}", column=week, hint="cast it to Int64"
        )
    if not train_until <= valid_until:
        raise ConfigError(
            "validation must end after training",
            where=f"train_until {train_until}, valid_until {valid_until}",
            hint="swap them",
        )
    run_checks(frame.lazy(), [present(week)], in_file(""))
    return _cut(frame, pl.col(week) <= train_until, pl.col(week) <= valid_until)


def leave_one_out(
    frame: pl.DataFrame,
    user: str = "user_id",
    time: str = "time",
    *,
    ties: Ties = "hash",
    seed: int = 0,
    event_id: str = "event_id",
) -> LeaveOneOut:
    """Each user's last event tests, the one before validates, the others train.

    A user with fewer than three events only trains. Rows come sorted by user, then in the
    order used.

    ties: where events of one user share a time, "hash" orders them by a 64-bit hash of (seed,
        event_id): the same on every machine, another for another seed, and never that of the
        file or of the ids. "refuse" raises instead.
    Raises ConfigError for an unknown `ties`, SchemaError for an absent column,
    ValueInvalidError for a null, a repeated event_id, or a tie that is refused.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties cannot be {ties!r}", where="ties", hint="use hash or refuse")
    for column in (user, time, event_id):
        _dtype(frame, column)
    repeated = Check(
        event_id, pl.col(event_id).is_duplicated(), f"{event_id} must be unique", "drop repeats"
    )
    run_checks(
        frame.lazy(), [present(user), present(time), present(event_id), repeated], in_file("")
    )
    tied = pl.struct(user, time).is_duplicated()
    if ties == "refuse":
        rule = Check(time, tied, "a user's events share one time", 'pass ties="hash"')
        run_checks(frame.lazy(), [rule], in_file(""))
    hashed = frame.with_columns(
        hash_order(frame, [event_id], seed).alias("__hash"), tied.alias("__tied")
    )
    ordered = hashed.sort(user, time, "__hash")
    from_end = pl.int_range(pl.len(), 0, -1).over(user)
    ordered = ordered.with_columns(__end=from_end, __count=pl.len().over(user))
    long = pl.col("__count") >= 3
    test = ordered.filter(long & (pl.col("__end") == 1))
    valid = ordered.filter(long & (pl.col("__end") == 2))
    train = ordered.filter(~long | (pl.col("__end") > 2))
    return LeaveOneOut(
        train.select(frame.columns),
        valid.select(frame.columns),
        test.select(frame.columns),
        _share(hashed["__tied"]),
        _share(test["__tied"]),
    )


def _cut(frame: Frame, in_train: pl.Expr, before_test: pl.Expr) -> Split[Frame]:
    return Split(
        frame.filter(in_train), frame.filter(~in_train & before_test), frame.filter(~before_test)
    )


def _dtype(frame: pl.DataFrame | pl.LazyFrame, column: str) -> pl.DataType:
    schema = frame.collect_schema()
    if column not in schema:
        raise SchemaError(
            f"the table has no column {column}",
            column=column,
            hint=f"choose among {', '.join(schema.names())}",
        )
    return schema[column]


def _share(flags: pl.Series) -> float:
    return int(flags.sum()) / flags.len() if flags.len() else 0.0
