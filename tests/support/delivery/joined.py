"""A log that a service has added to: purchases of villagers."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, open_log, save_log
from adwright.delivery.joined_log import JoinedLog, join_logs
from adwright.delivery.retraining.retrain import RetrainedModel
from adwright.metrics.reports.report import Comparison
from tests.support.store.small_world import ITEMS, events


def world(folder: Path, people: int = 40) -> JoinedLog:
    """The log in FOLDER/log, and what a service wrote: the latest tenth of the events."""
    every = events(people=people)
    cut = every["time"].sort()[int(0.9 * every.height)]
    old = Log(every.filter(pl.col("time") < cut).lazy(), Catalogue.checked(ITEMS))
    save_log(folder / "log", old)
    return join_logs(open_log(folder / "log"), [every.filter(pl.col("time") >= cut)])


def compared(found: RetrainedModel) -> Comparison:
    """What was compared; something was."""
    assert found.comparison is not None
    return found.comparison
