"""The ranking task that a log allows: of what was shown, or of what was taken beside drawn items.

A log with impressions says what was turned down (`adwright.data.tasks.from_log`). Of a log without
any, what was taken is told from items drawn beside it (`drawn`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from adwright.data.schema import RESPONSE_KINDS
from adwright.data.sources.log import Log
from adwright.data.tasks.from_log import LogTaskConfig, build_task_of_log
from adwright.data.tasks.own.drawn import DrawnConfig, build_drawn_task
from adwright.data.tasks.own.next_item import NextItemConfig
from adwright.data.tasks.task import Task

_log = logging.getLogger("adwright")


def build_ranking_task(
    log: Log, cache: str | Path, config: LogTaskConfig | None = None, *, name: str = "log"
) -> Task:
    """The ranking task of a log, in a folder under `cache`, built on first use.

    config: of a log without impressions its dates, shares and kinds of columns count; responses
    other than the usual ones, too. That negatives are drawn is said as a warning.
    Raises as `build_task_of_log` and `build_drawn_task`.
    """
    config = config or LogTaskConfig()
    if _has_impressions(log):
        return build_task_of_log(log, cache, config, name=name)
    usual = config.responses == RESPONSE_KINDS
    _log.warning(
        "the log does not say what was shown: what was taken is to be told from items drawn "
        "beside it"
    )
    columns = {
        column: kind
        for column, kind in config.column_kinds.items()
        if column in log.catalogue.items.columns
    }
    wanted = NextItemConfig(
        kinds=() if usual else config.responses,
        shares=config.shares,
        valid_from=config.valid_from,
        test_from=config.test_from,
        item_columns=columns,
    )
    return build_drawn_task(log, cache, DrawnConfig(next_item=wanted), name=name)


def _has_impressions(log: Log) -> bool:
    shown = log.events.filter(pl.col("kind").cast(pl.String) == "impression")
    return bool(shown.head(1).collect(engine="streaming").height)
