"""A saved model is asked about what came after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from adwright.delivery.counted import train_item_item
from adwright.delivery.popularity import save_popularity
from adwright.delivery.retraining.newer import evaluate_newer
from adwright.delivery.retraining.retrain import fitted_until
from adwright.training.sequential.runfile import SequenceDataConfig, open_sequences
from tests.support.delivery.joined import world
from tests.support.store.small_world import ITEMS


def trained(folder: Path) -> Log:
    """Item-item of the log in FOLDER/log; the log with what came after, and two new items in it."""
    joined = world(folder)
    data = open_sequences(SequenceDataConfig(kind="events", path=folder / "log"))
    train_item_item(data, folder / "a", log=str(folder / "log"), draws=20)
    events = joined.log.events.collect()
    late = events["time"] > events["time"].sort()[int(0.97 * events.height)]
    strange = pl.when(late & (pl.int_range(pl.len()) % 2 == 0)).then(pl.lit("brandnew"))
    events = events.with_columns(strange.otherwise("item_id").alias("item_id"))
    return Log(events.lazy(), Catalogue.checked(pl.concat([ITEMS, brandnew()], how="diagonal")))


def brandnew() -> pl.DataFrame:
    return pl.DataFrame({"item_id": ["brandnew"]})


def test_what_came_after_is_asked_and_unknown_items_are_misses(tmp_path: Path) -> None:
    newer = trained(tmp_path)
    save_log(tmp_path / "newer", newer)
    found = evaluate_newer(tmp_path / "a", tmp_path / "newer", draws=20)
    assert list(found.comparison.reports) == ["this model", "Popularity", "Item-item"]
    until = fitted_until(load_artifact(tmp_path / "a" / "model"))
    assert (
        until == pl.read_parquet(tmp_path / "log" / "events.parquet")["time"].dt.epoch("us").max()
    )
    (_, unknown) = found.notes
    assert "of 1 items that the model does not know, and count as misses" in unknown
    # The rule as it was trained then is the model itself.
    model, rule = (
        found.comparison.reports[name].metrics["ndcg@10"].value
        for name in ("this model", "Item-item")
    )
    assert model == pytest.approx(rule, abs=0.02)
    # A stop after all that is asked hides nothing from one side alone.
    every = newer.events.collect()
    hit = every["item_id"].mode()[0]
    stop = (
        every.sort("time")
        .tail(1)
        .with_columns(
            event_id=pl.lit("stop"), kind=pl.lit("stop", every["kind"].dtype), item_id=pl.lit(hit)
        )
    )
    save_log(tmp_path / "stopped", replace(newer, events=pl.concat([every, stop]).lazy()))
    beside = evaluate_newer(tmp_path / "a", tmp_path / "stopped", draws=20).comparison.reports
    assert beside["this model"].metrics["ndcg@10"].value == pytest.approx(model)
    known = newer.events.filter(pl.col("item_id") != "brandnew")
    save_log(tmp_path / "known", replace(newer, events=known))
    assert len(evaluate_newer(tmp_path / "a", tmp_path / "known", draws=20).notes) == 1


def test_what_a_model_has_seen_is_refused(tmp_path: Path) -> None:
    newer = trained(tmp_path)
    for log in ("log", "newer"):
        if log == "newer":
            # An earlier version did not say on what a model was fitted: nothing later than now.
            save_log(tmp_path / "newer", newer)
            save_popularity(tmp_path / "a" / "model", *weights(), overwrite=True)
        with pytest.raises(ConfigError, match="the model may have seen it") as error:
            evaluate_newer(tmp_path / "a", tmp_path / log)
        assert "without --log" in error.value.hint


def weights() -> tuple[list[str], np.ndarray]:
    return ITEMS["item_id"].to_list(), np.arange(1.0, len(ITEMS) + 1)
