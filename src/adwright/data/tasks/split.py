"""Cut a log into train, validation and test: by time, or the last events of each user.

A split by time is the honest one for anything that will be used tomorrow: nothing of the
validation or test period is seen in training. Holding out the last events is what many papers
report; it lets one user's training events lie after another user's test event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import polars as pl

from adwright.core.errors import ConfigError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def split_by_time(
    time: pl.Expr, valid_from: datetime | float, test_from: datetime | float
) -> pl.Expr:
    """The column `split`: rows before `valid_from` train, before `test_from` validate, the rest
    test.

    time: instants, weeks or places in the order of time, as the two bounds.

    >>> weeks = pl.DataFrame({"week": [44, 45, 49]})
    >>> weeks.select(split_by_time(pl.col("week"), 45, 49))["split"].to_list()
    ['train', 'valid', 'test']
    """
    return (
        pl.when(time < valid_from)
        .then(pl.lit("train"))
        .when(time < test_from)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("test"))
        .cast(pl.Enum(SPLITS))
        .alias("split")
    )


def split_last(left: pl.Expr) -> pl.Expr:
    """The column `split`: a user's last event tests, the one before it validates, the others
    train.

    left: events of the user after the row, from 0.
    """
    return split_by_time(-left.cast(pl.Int64), -1, 0)


def check_cut(shares: tuple[float, float], dates: Sequence[datetime | None]) -> None:
    """Raise ConfigError for shares that leave no test, or one date without the other."""
    if min(shares) <= 0 or sum(shares) >= 1:
        raise ConfigError(
            "the shares of training and validation must leave a part for test",
            where=f"shares {shares}",
        )
    known = [date for date in dates if date is not None]
    if len(known) == 1:
        raise ConfigError("valid_from and test_from come together", where=f"{known[0]}")
    if any(date.tzinfo is None for date in known):
        raise ConfigError("the dates of the split need a time zone", where=f"{known[0]}")
    if known and known[1] <= known[0]:
        raise ConfigError("validation must begin before test", where=f"{known[0]}, {known[1]}")
