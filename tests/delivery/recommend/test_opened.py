from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, ConfigError, FileUnreadableError
from adwright.delivery.popularity import save_popularity
from adwright.delivery.recommend.opened import RECOMMENDING, Wanted, open_model
from adwright.delivery.served import ServedModel
from adwright.delivery.stages.histories import microseconds
from tests.support.delivery.cascade_parts import LATER, deployment, ranker, task, two_tower
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import past, run_folder

IDS = task().items.ids


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_folder(tmp_path)


SAVE: dict[str, Callable[[Path], object]] = {
    "sequence": lambda path: sasrec().save(path),
    "retriever": lambda path: two_tower().save(path),
    "ranker": lambda path: ranker().save(path),
    "cascade": lambda path: deployment().save(path, histories=False),
    "popularity": lambda path: save_popularity(path, IDS, np.arange(len(IDS), dtype=float)),
}


@pytest.mark.parametrize("kind", SAVE)
def test_the_log_of_the_run_says_what_users_did(run: Path, kind: str) -> None:
    SAVE[kind](run / "model")
    opened = open_model(run, Wanted())
    assert opened.kind == kind in RECOMMENDING
    assert opened.source == str(run.parent / "log")
    assert opened.people.users.to_list() == sorted(task().users)
    assert not opened.unseen
    codes = opened.top.best(opened.people, 2).codes
    assert codes.shape == (len(task().users), 2)
    assert (codes > 0).all()


@pytest.mark.parametrize("kind", ["cascade", "served"])
def test_saved_histories_need_no_log(tmp_path: Path, kind: str) -> None:
    if kind == "cascade":
        deployment().save(tmp_path / "v1")
    else:
        ServedModel.of_log(sasrec(), past().events).save(tmp_path / "v1")
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
