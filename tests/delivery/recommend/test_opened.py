from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, ConfigError, FileUnreadableError
from adwright.delivery.counted import with_histories
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Serving
from adwright.delivery.popularity import save_popularity
from adwright.delivery.recommend.models import RECOMMENDING, RetrieverTop, Wanted, open_model
from adwright.delivery.recommend.people import people_of_log
from adwright.delivery.recommend.run import recommend_all
from adwright.delivery.served import ServedModel
from adwright.delivery.stages.histories import microseconds
from adwright.training.retrieval.item_item import ItemItemArtifact
from tests.support.delivery.cascade_parts import (
    LATER,
    deployment,
    histories,
    ranker,
    task,
    two_tower,
)
from tests.support.delivery.funnel_parts import funnel, funnel_parts
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import past, run_folder

IDS = task().items.ids


def item_item() -> ItemItemArtifact:
    found = funnel_parts().item_item
    assert found is not None
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_folder(tmp_path)


SAVE: dict[str, Callable[[Path], object]] = {
    "sequence": lambda path: sasrec().save(path),
    "retriever": lambda path: two_tower().save(path),
    "ranker": lambda path: ranker().save(path),
    "cascade": lambda path: deployment().save(path, histories=False),
    "funnel": lambda path: funnel().save(path, histories=False),
    "item-item": lambda path: item_item().save(path),
    "popularity": lambda path: save_popularity(path, IDS, np.arange(len(IDS), dtype=float)),
}


@pytest.mark.parametrize("kind", SAVE)
def test_the_log_of_the_run_says_what_users_did(run: Path, kind: str) -> None:
    SAVE[kind](run / "model")
    opened = open_model(run, Wanted())
    assert opened.kind == {"funnel": "cascade"}.get(kind, kind)
    assert opened.kind in RECOMMENDING
    assert opened.source == str(run.parent / "log")
    assert opened.people.users.to_list() == sorted(task().users)
    assert not opened.unseen
    codes = opened.top.best(opened.people, 2).codes
    assert codes.shape == (len(task().users), 2)
    assert (codes > 0).all()


HOLDS: dict[str, Callable[[Path], object]] = {
    "cascade": lambda path: deployment().save(path),
    "funnel": lambda path: funnel().save(path),
    "item-item": lambda path: with_histories(item_item(), histories()).save(path),
    "served": lambda path: ServedModel.of_log(sasrec(), past().events).save(path),
}


@pytest.mark.parametrize("kind", HOLDS)
def test_saved_histories_need_no_log(tmp_path: Path, kind: str) -> None:
    HOLDS[kind](tmp_path / "v1")
    opened = open_model(tmp_path / "v1", Wanted(users=("u1", "nobody")))
    assert opened.source == "the histories of the model"
    assert opened.people.lengths.tolist()[1] == 0 < opened.people.lengths[0]


def test_what_is_wanted_counts(run: Path) -> None:
    sasrec().save(run / "model")
    assert open_model(run, Wanted(unseen=True)).unseen
    early = LATER - timedelta(days=27)
    opened = open_model(run, Wanted(at=early, users=("u2",)))
    assert opened.people.users.to_list() == ["u2"]
    assert opened.people.time.max() < microseconds(early)
    assert (opened.people.at == microseconds(early)).all()
    elsewhere = run_folder(run.parent / "elsewhere").parent / "log"
    assert open_model(run, Wanted(log=str(elsewhere))).source == str(elsewhere)


def test_what_nobody_takes_twice_is_left_out_by_default(tmp_path: Path) -> None:
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    once.with_columns().write_parquet(tmp_path / "events.parquet")
    ServedModel.of_log(sasrec(), once).save(tmp_path / "v1")
    assert open_model(tmp_path / "v1", Wanted()).unseen
    assert not open_model(tmp_path / "v1", Wanted(unseen=False)).unseen


@pytest.mark.parametrize("make", [sasrec, two_tower])
def test_what_was_only_looked_at_stays_on_the_list(tmp_path: Path, make: Any) -> None:
    """Saved, by its log, and with everything left out on demand: recommend is of one mind."""
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    once = once.sort("user_id", "time").with_columns(
        kind=pl.when(last).then(pl.lit("view")).otherwise(pl.lit("purchase"))
    )
    (tmp_path / "log").mkdir()
    once.write_parquet(tmp_path / "log" / "events.parquet")
    looked = set(once.filter(kind="view").select("user_id", "item_id").iter_rows())
    bought = set(once.filter(kind="purchase").select("user_id", "item_id").iter_rows())
    ServedModel.of_log(make(), once).save(tmp_path / "v1")
    make().save(tmp_path / "alone")
    for model, log in (("v1", None), ("v1", "log"), ("alone", "log")):
        for unseen in (None, True):
            asked = Wanted(log=log and str(tmp_path / log), unseen=unseen)
            found = recommend_all(tmp_path / model, asked, k=12)
            pairs = set(found.select("user_id", "item_id").iter_rows())
            assert not pairs & bought
            assert (looked <= pairs) is (unseen is None)


@pytest.mark.parametrize("repeats", [False, True])
def test_a_model_that_says_whether_things_come_again_is_believed(run: Path, repeats: bool) -> None:
    replace(item_item(), repeats=repeats).save(run / "model")
    assert open_model(run, Wanted()).unseen is not repeats
    assert open_model(run, Wanted(unseen=repeats)).unseen is repeats
    shutil.rmtree(run / "model")
    whole = funnel(Serving({"item-item": 5, "popularity": 3}, ScoreMixture.of("item-item")))
    replace(whole, parts=replace(whole.parts, repeats=repeats)).save(run / "deployment")
    assert open_model(run, Wanted()).unseen is not repeats
    named = open_model(run, Wanted(log=str(run.parent / "log")))
    assert named.unseen is not repeats
    assert named.source == str(run.parent / "log")


def test_numbers_of_users_are_cut_as_the_training_cut_them(run: Path) -> None:
    """The log says 41, where the training called it by its part."""
    spec, towns = two_tower().spec, {"north": "below 30", "south": "from 30"}
    features = tuple(
        replace(f, vocabulary=tuple(towns[one] for one in f.vocabulary)) if f.name == "town" else f
        for f in spec.features
    )
    replace(two_tower(), spec=replace(spec, features=features)).save(run / "model")
    ages = pl.col("town").replace_strict({"north": "7", "south": "41"})
    users = run.parent / "log" / "users.parquet"
    pl.read_parquet(users).with_columns(ages).write_parquet(users)
    opened = open_model(run, Wanted())
    assert opened.people.profiles is not None
    assert set(opened.people.profiles["town"]) == {"below 30", "from 30"}
    expected = RetrieverTop(two_tower(), unseen=False).best(people_of_log(past(), task().items), 3)
    assert opened.top.best(opened.people, 3).codes.tolist() == expected.codes.tolist()


def test_popularity_needs_no_log_for_given_users(tmp_path: Path) -> None:
    SAVE["popularity"](tmp_path / "v1")
    opened = open_model(tmp_path / "v1", Wanted(users=("a", "b")))
    assert opened.people.lengths.tolist() == [0, 0]
    with pytest.raises(ConfigError, match="no log is known"):
        open_model(tmp_path / "v1", Wanted())


def test_what_cannot_recommend_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "v1", kind="adapter", config={})
    with pytest.raises(ArtifactError, match="recommends nothing") as error:
        open_model(tmp_path / "v1", Wanted())
    assert "cascade" in error.value.hint
    sasrec().save(tmp_path / "alone" / "model")
    with pytest.raises(ConfigError, match="no log is known") as unknown:
        open_model(tmp_path / "alone" / "model", Wanted())
    assert "--events" in unknown.value.hint


def test_a_log_that_is_gone_is_said(run: Path) -> None:
    sasrec().save(run / "model")
    shutil.rmtree(run.parent / "log")
    with pytest.raises(ConfigError, match="not there any more") as error:
        open_model(run, Wanted())
    assert "--events" in error.value.hint
    with pytest.raises(FileUnreadableError, match="no such log"):
        open_model(run, Wanted(log="nowhere"))
