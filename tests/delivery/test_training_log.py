from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, FileUnreadableError, ValueInvalidError
from adwright.data.sources.log import save_log
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.training_log import model_folder, open_history, training_log
from tests.support.data.ranking_task import shop_task, small_log
from tests.support.delivery.single_models import log, past, run_folder


def configured(folder: Path, values: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder / "model"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": {"kind": "journey"}}, "complete-journey"),
        ({"data": {"kind": "events", "path": "log"}}, "log"),
        ({"task": {"kind": "response"}}, "complete-journey"),
        ({"task": {"kind": "movielens"}}, "movielens"),
        ({"task": {"kind": "log", "folder": "mine"}}, "mine"),
        ({"task": {"kind": "folder", "folder": "there/task"}}, "there/task"),
        ({"log": "mine", "data": {"kind": "journey"}}, "mine"),
        ({"run": {"model": "hcn", "log": "mine"}, "model": {}}, "mine"),
        ({"run": {"log": ""}}, None),
        ({"log": "", "run": 3}, None),
        ({"other": 1}, None),
        ([], None),
    ],
)
def test_the_run_says_where_its_log_lies(
    tmp_path: Path, values: dict[str, Any], expected: str | None
) -> None:
    assert training_log(configured(tmp_path, values)) == expected


def test_a_task_of_an_imported_log_lies_in_that_log(tmp_path: Path) -> None:
    save_log(tmp_path / "log", small_log())
    shop_task(tmp_path / "log" / "task-1")
    task = {"kind": "folder", "folder": str(tmp_path / "log" / "task-1")}
    assert training_log(configured(tmp_path / "run", {"task": task})) == str(tmp_path / "log")


def test_without_a_run_nothing_is_known(tmp_path: Path) -> None:
    assert training_log(tmp_path / "model") is None
    (tmp_path / "config.json").write_text("{")
    assert training_log(tmp_path / "model") is None


def test_the_model_of_a_run_is_found_and_two_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_artifact(run / "ranker", kind="x", config={})
    assert model_folder(run) == model_folder(run / "ranker") == run / "ranker"
    with pytest.raises(ArtifactError, match="no model here") as error:
        model_folder(tmp_path / "nowhere")
    assert "manifest.json" in error.value.hint
    save_artifact(run / "model", kind="x", config={})
    with pytest.raises(ArtifactError) as error:
        model_folder(run)
    assert str(run / "model") in error.value.hint
    assert str(run / "ranker") in error.value.hint


def test_a_log_gives_the_kinds_that_count_and_who_people_are(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    found = open_history(str(training_log(run / "model")), ("purchase",))
    wanted = past().events.sort("user_id", "time", "item_id")
    assert found.events.drop("kind").sort("user_id", "time", "item_id").equals(wanted)
    assert found.profiles is not None
    assert found.profiles.sort("user_id").equals(log().users.sort("user_id"))  # type: ignore[union-attr]
    clicks = open_history_of_small_log(tmp_path, ("click",))
    assert clicks.height == small_log().events.filter(kind="click").collect().height
    with pytest.raises(ValueInvalidError, match="the kinds that count are cart"):
        open_history_of_small_log(tmp_path, ("cart",))


def open_history_of_small_log(folder: Path, kinds: tuple[str, ...]) -> pl.DataFrame:
    if not (folder / "small").exists():
        save_log(folder / "small", small_log())
    return open_history(folder / "small", kinds).events


def test_sequences_stand_for_days_and_a_task_has_everybody_once(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("ann tea jam tea\nbob rye\n")
    (tmp_path / "item_attributes.json").write_text(json.dumps({"tea": [1], "jam": [1], "rye": [2]}))
    found = open_history(tmp_path, ("click",)).events
    assert found["user_id"].to_list() == ["ann", "ann", "ann", "bob"]
    assert (found["time"] // MICROSECONDS_PER_DAY).to_list() == [0, 1, 2, 0]
    task = shop_task(tmp_path / "task", users=6)
    events = open_history(task.folder, ("click",)).events
    every = pl.concat([pl.read_parquet(task.events_path(split)) for split in ("train", "test")])
    assert events.height == every.unique().height
    with pytest.raises(FileUnreadableError):
        open_history(tmp_path / "nowhere", ("click",))
