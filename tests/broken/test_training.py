"""Runs that are resumed, and files that are scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from adwright.core.clock import FixedClock
from adwright.core.errors import (
    FileUnreadableError,
    ResourceError,
    ResumeError,
    SchemaError,
    ValueInvalidError,
)
from adwright.training.loop.run_folder import RunPosition
from adwright.training.ranking.fit import fit
from adwright.training.ranking.fit import run_folder as run_folder_of_fit
from adwright.training.ranking.scoring import events_of, score_file
from tests.broken.cases import (
    Call,
    Case,
    Make,
    Shop,
    at_row,
    check,
    edit_manifest,
    flip,
    named,
    scored,
    spoil,
)
from tests.support.data.ranking_task import FIT, untrained


def run_folder(here: Path, shop: Shop, *, change: Callable[[Path], object]) -> Call:
    """Resume a run of the shop's task after `change` of its folder."""
    folder = run_folder_of_fit(shop.task, FIT, here / "run", clock=FixedClock())
    folder.begin(RunPosition(), {}, {"model/none": torch.zeros(3)})
    change(here / "run")
    return lambda: fit(untrained(shop.task), shop.task, FIT, here / "run", resume=True)


def resumed(change: Callable[[Path], object]) -> Make:
    return lambda here, shop: run_folder(here, shop, change=change)


def resume_where(text: str) -> Make:
    return resumed(lambda run: (run / "config.json").write_text(text))


def other_config(here: Path, shop: Shop) -> Call:
    run_folder(here, shop, change=lambda _: None)
    config = replace(FIT, learning_rate=0.5)
    return lambda: fit(untrained(shop.task), shop.task, config, here / "run", resume=True)


def other_task(run: Path) -> None:
    asked = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**asked, "task": "another"}))


def spoilt(name: str) -> Make:
    """Score files of which one has damaged pages."""

    def make(here: Path, shop: Shop) -> Call:
        for whole in ("rows", "events"):
            shutil.copy(shop.folder / f"{whole}.parquet", here)
        spoil(shop.folder / f"{name}.parquet", here / f"{name}.parquet")
        rows, events = here / "rows.parquet", here / "events.parquet"
        return lambda: score_file(shop.ranker, rows, events, here / "scores.parquet")

    return make


def one_user(here: Path, shop: Shop) -> Call:
    spoil(shop.folder / "events.parquet", here / "events.parquet")
    return lambda: events_of(here / "events.parquet", "u1")


def into_a_folder(here: Path, shop: Shop) -> Call:
    (here / "scores.parquet").mkdir()
    rows, events = shop.folder / "rows.parquet", shop.folder / "events.parquet"
    return lambda: score_file(shop.ranker, rows, events, here / "scores.parquet", overwrite=True)


RESUMES = [
    Case(
        "resume with another config",
        other_config,
        ResumeError,
        ("config.json", "learning_rate was 0.01 and is now 0.5", "begin a new run"),
    ),
    Case(
        "resume on another task",
        resumed(other_task),
        ResumeError,
        ("config.json", "task was 'another' and is now", "begin a new run"),
    ),
    *(
        Case(
            f"resume where config.json is {text}",
            resume_where(text),
            ResumeError,
            ("/run]", "holds no run", "check the path"),
        )
        for text in ("[]", "{}", '{"fit": 3}', "{")
    ),
    Case(
        "resume from a damaged checkpoint",
        resumed(lambda run: flip(next(run.glob("checkpoint-*/tensors.safetensors")))),
        ResumeError,
        ("no checkpoint that can be read", "SHA-256 differs", "start the run again"),
    ),
    Case(
        "resume from a checkpoint of another version",
        resumed(
            lambda run: edit_manifest(
                next(run.glob("checkpoint-*")), lambda m: m["config"].update(later=1)
            )
        ),
        ResumeError,
        ("no checkpoint that can be read", "later"),
    ),
]


@pytest.mark.parametrize("case", RESUMES, ids=named)
def test_resuming(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


SCORES = [
    Case(
        "rows without a column",
        scored(lambda rows: rows.drop("price", "store")),
        SchemaError,
        ("rows.parquet, column store", "store, price", "add them"),
    ),
    Case(
        "events without a column",
        scored(events=lambda events: events.drop("time")),
        SchemaError,
        ("events.parquet, column time", "needed columns are missing: time", "--columns"),
    ),
    Case(
        "null item",
        scored(at_row(150, "item_id", None)),
        ValueInvalidError,
        ("rows.parquet, row 150, column item_id", "empty value"),
    ),
    Case(
        "blank user",
        scored(at_row(150, "user_id", " ")),
        ValueInvalidError,
        ("rows.parquet, row 150, column user_id", "empty value", "fill it in"),
    ),
    Case(
        "table with numbers as text",
        lambda here, shop: (
            lambda: shop.ranker.score_rows(
                shop.rows.with_columns(price=pl.lit("dear")), shop.events
            )
        ),
        SchemaError,
        ("column price", "numbers, not String", "convert"),
    ),
    Case(
        "numbers as text",
        scored(lambda rows: rows.with_columns(price=pl.lit("dear"))),
        SchemaError,
        ("rows.parquet, column price", "numbers, not String", "convert"),
    ),
    Case(
        "lists for single values",
        scored(lambda rows: rows.with_columns(store=pl.concat_list("store"))),
        SchemaError,
        ("rows.parquet, column store", "single values"),
    ),
    Case(
        "NaN users",
        scored(lambda rows: rows.with_columns(user_id=pl.lit(float("nan")))),
        SchemaError,
        ("rows.parquet, column user_id", "text or integers, not Float64"),
    ),
    Case(
        "lists for ids of events",
        scored(events=lambda events: events.with_columns(item_id=pl.concat_list("item_id"))),
        SchemaError,
        ("events.parquet, column item_id", "text or integers"),
    ),
    Case(
        "time of another type",
        scored(lambda rows: rows.with_columns(time=pl.col("time").dt.date())),
        SchemaError,
        ("rows.parquet, column time", "timestamp", "not Date", "convert"),
    ),
    Case(
        "null time of an event",
        scored(events=at_row(0, "time", None)),
        ValueInvalidError,
        ("events.parquet, column time", "events hold an empty value"),
    ),
    Case("damaged rows", spoilt("rows"), FileUnreadableError, ("rows.parquet", "damaged", "copy")),
    Case("damaged events", spoilt("events"), FileUnreadableError, ("events.parquet", "damaged")),
    Case("damaged history", one_user, FileUnreadableError, ("events.parquet", "damaged")),
    Case("scores into a folder", into_a_folder, ResourceError, ("scores.parquet", "by a folder")),
    Case(
        "scores below a file",
        scored(out="rows.parquet/scores.parquet"),
        ResourceError,
        ("scores.parquet", "choose another path"),
    ),
]


@pytest.mark.parametrize("case", SCORES, ids=named)
def test_scoring(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


def test_users_without_history_and_unknown_items_are_scored(tmp_path: Path, shop: Shop) -> None:
    """Both are documented as no error."""
    events = shop.events.filter(pl.col("user_id") != "u0")
    assert "u0" in shop.rows["user_id"]
    events.write_parquet(tmp_path / "events.parquet")
    at_row(1, "item_id", "new")(shop.rows).write_parquet(tmp_path / "rows.parquet")
    out = tmp_path / "scores.parquet"
    score_file(shop.ranker, tmp_path / "rows.parquet", tmp_path / "events.parquet", out)
    found = pl.read_parquet(out)
    assert found["probability"].is_between(0, 1).all()
    assert found["known_item"].to_list() == [n != 1 for n in range(found.height)]
