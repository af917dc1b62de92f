from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.batches.stream import PartialStream, StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN
from adwright.training.ranking.fit import FitConfig, PartialFit, as_begun, fit


def test_what_is_given_wins_over_what_follows_from_the_data() -> None:
    default = FitConfig(epochs=7, decay=0.5, stream=StreamConfig(32, negative_rate=0.2))
    asked = PartialFit(decay=0.0, patience=4, stream=PartialStream(max_history=9))
    found = asked.over(default)
    assert type(found) is FitConfig
    assert type(found.stream) is StreamConfig
    assert (found.epochs, found.decay, found.patience) == (7, 0.0, 4)
    assert found.stream == StreamConfig(32, negative_rate=0.2, max_history=9)
    assert PartialFit().over(default) == default
    assert [one.is_complete for one in (asked, default, PartialFit())] == [False, True, False]
    assert FitConfig().over(default) == FitConfig()


def test_the_two_have_the_same_settings() -> None:
    for partial, whole in ((PartialFit, FitConfig), (PartialStream, StreamConfig)):
        assert [f.name for f in fields(partial)] == [f.name for f in fields(whole)]  # type: ignore[arg-type]


def test_a_table_of_a_run_file_is_partial() -> None:
    asked = from_jsonable(PartialFit, {"epochs": 3, "stream": {"negative_rate": 0.5}})
    assert (asked.epochs, asked.learning_rate, asked.stream.negative_rate) == (3, None, 0.5)
    assert from_jsonable(PartialFit, to_jsonable(asked)) == asked


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (cls, wrong)
        for cls in (PartialFit, FitConfig)
        for wrong in (
            {"epochs": 0},
            {"patience": 0},
            {"learning_rate": 0.0},
            {"embedding_learning_rate": -1.0},
            {"decay": -1.0},
            {"seed": -1},
            {"precision": "fp8"},
            {"decay_counts": "people"},
        )
    ],
)
def test_settings_out_of_range(cls: type[PartialFit], wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        cls(**wrong)  # type: ignore[arg-type]


def test_the_stream_takes_the_seed_of_the_run() -> None:
    with pytest.raises(ConfigError, match="the seed of the run"):
        PartialFit(stream=PartialStream(seed=1))


class _Stopped(Exception):
    """In place of a process that ends."""


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_run_of_a_version_that_counted_events_goes_on_so(
    task: Task,
    make_din: Callable[..., DIN],
    config: Callable[..., FitConfig],
    tmp_path: Path,
    compare: Any,
    caplog: pytest.LogCaptureFixture,
    decay: float,
) -> None:
    def stop(batches: int) -> None:
        if batches == 7:
            raise _Stopped

    before = config(decay=decay, decay_counts="events", checkpoint_every=5)
    whole = make_din(task, interest="sum")
    fit(whole, task, before, tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit(make_din(task, interest="sum"), task, before, run, on_batch=stop)
    assert "decay_counts" not in json.loads((run / "config.json").read_text())["fit"]
    resumed, now = make_din(task, interest="sum", seed=3), replace(before, decay_counts="rows")
    with caplog.at_level(logging.WARNING, "adwright"):
        fit(resumed, task, now, run, resume=True)
    assert ("goes on so" in caplog.text) == bool(decay)
    assert compare.equal(whole.state_dict(), resumed.state_dict())
    assert as_begun(now, tmp_path / "nowhere") == now


def test_a_run_that_counts_rows_says_so(
    task: Task, make_din: Callable[..., DIN], config: Callable[..., FitConfig], tmp_path: Path
) -> None:
    now = config(decay=0.5)
    fit(make_din(task, interest="sum"), task, now, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "config.json").read_text())["fit"]
    assert about["decay_counts"] == "rows"
    assert as_begun(now, tmp_path / "run") == now
