"""Which ranking task a log allows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.tasks.from_log import LogTaskConfig, build_task_of_log
from adwright.data.tasks.own.drawn import build_drawn_task
from adwright.data.tasks.own.ranking import build_ranking_task
from tests.data.tasks.own.test_next_item import shop


def test_a_log_of_purchases_gets_drawn_negatives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = shop(again=True)
    with caplog.at_level(logging.WARNING, logger="adwright"):
        task = build_ranking_task(log, tmp_path, name="shop")
    assert "drawn beside it" in caplog.text
    assert task.folder == build_drawn_task(log, tmp_path, name="shop").folder
    assert "Drawn negatives" in task.protocol


def test_what_is_said_of_the_task_counts(tmp_path: Path) -> None:
    log = shop(again=True)
    task = build_ranking_task(log, tmp_path, LogTaskConfig(column_kinds={"shelf": "none"}))
    assert "shelf" not in [feature.name for feature in task.spec.features]
    with pytest.raises(ValueInvalidError, match="click"):
        build_ranking_task(log, tmp_path, LogTaskConfig(responses=("click",)))


def test_a_log_of_impressions_has_its_own(tmp_path: Path) -> None:
    log = shop(again=True)
    shown = log.events.with_columns(
        kind=pl.lit("impression"), time=pl.col("time").dt.offset_by("-1m")
    )
    # Of two items shown one is taken.
    other = shown.with_columns(item_id=pl.lit(log.catalogue.items["item_id"][0]))
    events = pl.concat([log.events, shown, other], how="vertical_relaxed")
    both = replace(log, events=events)
    task = build_ranking_task(both, tmp_path)
    assert task.folder == build_task_of_log(both, tmp_path).folder
    assert "Drawn negatives" not in task.protocol
