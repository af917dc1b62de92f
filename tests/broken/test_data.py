"""Tables of events, items and campaigns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

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
from adwright.data.batches.stream import Stream, StreamConfig
from adwright.data.sources.atomic_files import read_atomic
from adwright.data.sources.log import open_log, read_log
from adwright.data.sources.tables import read_campaigns, read_events, read_items, write_events
from adwright.data.tasks.task import Task
from adwright.training.loop.run_folder import RunPosition
from adwright.training.ranking.fit import fit
from adwright.training.ranking.fit import run_folder as run_folder_of_fit
from adwright.training.ranking.scoring import events_of, score_file
from tests.broken.cases import (
    CSV_HEAD,
    LOG,
    NOON,
    Call,
    Case,
    Make,
    Shop,
    at_row,
    beside_a_file,
    check,
    edit_manifest,
    flip,
    log,
    named,
    raw,
    scored,
    spoil,
    task_of,
)
from tests.support.data.ranking_task import FIT, ITEMS, untrained

ATOMIC_HEAD = "user_id:token\titem_id:token\ttimestamp:float"


def cut_off(here: Path, _: Shop) -> Call:
    LOG.write_parquet(here / "log.parquet")
    data = (here / "log.parquet").read_bytes()
    (here / "log.parquet").write_bytes(data[: len(data) // 2])
    return lambda: read_events(here / "log.parquet")


def bad_pages(here: Path, _: Shop) -> Call:
    LOG.write_parquet(here / "whole.parquet", compression="uncompressed")
    spoil(here / "whole.parquet", here / "log.parquet")
    return lambda: read_events(here / "log.parquet")


def catalogue(**tables: pl.DataFrame) -> Make:
    """A log with these tables beside it, read together."""

    def make(here: Path, _: Shop) -> Call:
        LOG.write_parquet(here / "log.parquet")
        for name, table in tables.items():
            table.write_parquet(here / f"{name}.parquet")
        paths = {name: here / f"{name}.parquet" for name in tables}
        return lambda: read_log(here / "log.parquet", **paths)

    return make


def campaign_backwards(here: Path, _: Shop) -> Call:
    text = "campaign_id,start,end\nc0,2024-01-02,2024-01-03\nc1,2024-01-02,2024-01-01\n"
    (here / "campaigns.csv").write_text(text)
    return lambda: read_campaigns(here / "campaigns.csv")


def users_file(name: str, data: bytes) -> Make:
    """A saved log whose table of users is broken."""

    def make(here: Path, _: Shop) -> Call:
        write_events(here / name.replace("users", "events"), LOG)
        (here / name).write_bytes(data)
        return lambda: open_log(here)

    return make


def atomic(text: str) -> Make:
    return raw("data.inter", text, lambda path: read_atomic(path.parent, "data"))


KNOWN = pl.DataFrame({"item_id": ["i0", "i1", "i2"]})
STRANGE = pl.DataFrame({"creative_id": ["c0", "c1"], "item_id": ["i0", "i9"]})
TABLES = [
    Case("no item_id", log(item_id=None), SchemaError, ("log.parquet", "column item_id", "add")),
    Case(
        "time as text",
        log(time=["x"] * 3),
        ValueInvalidError,
        ("log.parquet, row 0, column time", "cannot be read as a time", "write times as"),
    ),
    Case(
        "NaN id",
        log(user_id=[1.0, 2.0, float("nan")]),
        ValueInvalidError,
        ("log.parquet, row 2, column user_id, value nan", "NaN", "fill in the id"),
    ),
    Case(
        "empty id",
        log(user_id=["u0", " ", "u1"]),
        ValueInvalidError,
        ("log.parquet, row 1, column user_id, value ' '", "drop the row"),
    ),
    Case(
        "null time",
        log(time=[NOON, None, NOON]),
        ValueInvalidError,
        ("log.parquet, row 1, column time", "time must not be empty", "fill it in"),
    ),
    Case(
        "event twice",
        log(event_id=["e0", "e1", "e0"]),
        ValueInvalidError,
        ("row 2, column event_id, value 'e0'", "unique", "drop the repeated rows"),
    ),
    Case(
        "unknown kind",
        log(kind=["click", "glance", "click"]),
        ValueInvalidError,
        ("row 1, column kind, value 'glance'", "use one of impression"),
    ),
    Case(
        "time runs backwards",
        log(strict=True, time=[NOON, NOON, NOON - timedelta(days=1)]),
        ValueInvalidError,
        ("row 2, column time", "backwards", "sort the log"),
    ),
    Case(
        "negative position",
        log(position=[0, 1, -1]),
        ValueInvalidError,
        ("row 2, column position, value -1", "count places"),
    ),
    *(
        Case(
            f"propensity {wrong}",
            log(propensity=[1.0, wrong, 0.5]),
            ValueInvalidError,
            (f"row 1, column propensity, value {wrong}", "above 0 and at most 1", "log the"),
        )
        for wrong in (0.0, 1.5, float("nan"))
    ),
    *(
        Case(
            f"context {wrong}",
            log(context=["{}", None, wrong]),
            ValueInvalidError,
            ("row 2, column context", wrong, "JSON object", "write an object"),
        )
        for wrong in ("store 3", "[3]")
    ),
    Case(
        "value infinite",
        log(value=[1.0, float("inf"), 2.0]),
        ValueInvalidError,
        ("row 1, column value, value inf", "finite"),
    ),
    Case(
        "unknown item",
        catalogue(items=KNOWN[:1]),
        ValueInvalidError,
        ("log.parquet, row 1, column item_id, value 'i1'", "add the item"),
    ),
    Case(
        "creative of an unknown item",
        catalogue(items=KNOWN, creatives=STRANGE),
        ValueInvalidError,
        ("row 1, column item_id, value 'i9'", "add the item"),
    ),
    Case(
        "campaign ends before it starts",
        campaign_backwards,
        ValueInvalidError,
        ("campaigns.csv, row 1, column end", "before start", "correct one"),
    ),
    Case(
        "items twice",
        raw("items.csv", "item_id,price\ni0,1\ni0,2\n", read_items),
        ValueInvalidError,
        ("items.csv, row 1, column item_id, value 'i0'", "keep one row"),
    ),
    Case("Parquet cut off", cut_off, FileUnreadableError, ("log.parquet", "truncated", "copy")),
    Case("bad pages", bad_pages, FileUnreadableError, ("log.parquet", "damaged", "copy or write")),
    Case(
        "text named .parquet",
        raw("log.parquet", CSV_HEAD),
        FileUnreadableError,
        ("log.parquet", "not a Parquet file", "rename it to .csv"),
    ),
    *(
        Case(f"empty {name}", raw(name, b""), FileUnreadableError, (name, "is empty", "write"))
        for name in ("log.parquet", "log.csv")
    ),
    Case(
        "CSV in Latin-1",
        raw("log.csv", CSV_HEAD.encode() + "e0,2024-01-01,r0,Jörg,click,i0\n".encode("latin1")),
        FileUnreadableError,
        ("log.csv", "line 2 is not UTF-8", "iconv"),
    ),
    Case(
        "ragged CSV",
        raw("log.csv", CSV_HEAD + "e0,2024-01-01,r0,u0,click,i0\ne1,2024-01-01,r0\n"),
        FileUnreadableError,
        ("log.csv", "line 3 has 3 fields where the header has 6", "quotes"),
    ),
    Case(
        "CSV time",
        raw("log.csv", CSV_HEAD + "e0,yesterday,r0,u0,click,i0\n"),
        ValueInvalidError,
        ("log.csv, row 0, column time, value 'yesterday'", "2017-01-31"),
    ),
    Case(
        "users ragged",
        users_file("users.csv", b"user_id,age\nu0,1,2\n"),
        FileUnreadableError,
        ("users.csv", "line 2 has 3 fields"),
    ),
    Case(
        "users no Parquet",
        users_file("users.parquet", b"hello"),
        FileUnreadableError,
        ("users.parquet", "not a Parquet file"),
    ),
    Case(
        "atomic header without types",
        atomic("user_id\titem_id\ttimestamp\nu\ti\t1\n"),
        SchemaError,
        ("data.inter", "header is missing", "user_id:token"),
    ),
    Case(
        "atomic header of an unknown type",
        atomic(ATOMIC_HEAD + "\tprice:money\nu\ti\t1\t2\n"),
        SchemaError,
        ("data.inter, column price:money", "no known type", "token_seq"),
    ),
    Case(
        "atomic position beyond integers",
        atomic(ATOMIC_HEAD + "\tposition:float\nu\ti\t1\t1e30\n"),
        ValueInvalidError,
        ("data.inter, row 0, column position, value '1e30'",),
    ),
    Case(
        "atomic value under two names",
        atomic(ATOMIC_HEAD + "\trating:float\tvalue:float\nu\ti\t1\t2\t3\n"),
        SchemaError,
        ("data.inter, column value", "same column", "drop one"),
    ),
    Case(
        "path below a file",
        beside_a_file(lambda file, _: write_events(file / "log.parquet", LOG)),
        ResourceError,
        ("log.parquet", "not a folder", "choose another path"),
    ),
]


@pytest.mark.parametrize("case", TABLES, ids=named)
def test_tables(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


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


def task_json(text: str) -> Make:
    return raw("task.json", text, lambda path: Task.open(path.parent))


def task_without_items(here: Path, shop: Shop) -> Call:
    shutil.copy(shop.task.folder / "task.json", here)
    return lambda: Task.open(here).items


def stream(change: Callable[[Path, Path], object]) -> Make:
    """All batches of the training rows, after `change` of the two files."""

    def make(here: Path, shop: Shop) -> Call:
        rows, events = here / "rows.parquet", here / "events.parquet"
        shutil.copy(shop.task.rows_path("train"), rows)
        shutil.copy(shop.task.events_path("train"), events)
        change(rows, events)
        spec, items = shop.task.spec, shop.task.item_table
        return lambda: list(
            Stream(rows, events, spec=spec, items=items, config=StreamConfig()).epoch()
        )

    return make


def rewrite(path: Path, **columns: Any) -> None:
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def stream_where_rows_see(count: object) -> Make:
    return stream(lambda rows, _: rewrite(rows, visible=pl.lit(count)))


TASKS = [
    Case(
        "label 2",
        task_of(at_row(7, "label", 2)),
        ValueInvalidError,
        ("row 7, column label, value 2", "0 or 1"),
    ),
    Case(
        "no training rows",
        task_of(lambda rows: rows.with_columns(split=pl.lit("test"))),
        ValueInvalidError,
        ("no training rows", "column split", "move the split's dates"),
    ),
    Case(
        "unknown split",
        task_of(at_row(3, "split", "later")),
        ValueInvalidError,
        ("row 3, column split, value 'later'", "train, valid or test"),
    ),
    Case(
        "rows without a label",
        task_of(lambda rows: rows.drop("label")),
        SchemaError,
        ("rows of a task lack", "column label", "they have user_id"),
    ),
    Case(
        "float ids",
        task_of(lambda rows: rows.with_columns(user_id=pl.lit(1.0))),
        SchemaError,
        ("Float64", "column user_id", "ids and split are text"),
    ),
    Case(
        "null time",
        task_of(at_row(5, "time", None)),
        ValueInvalidError,
        ("row 5, column time", "empty value", "fill it in"),
    ),
    Case(
        "item twice",
        task_of(lambda rows: rows, items=pl.concat([ITEMS, ITEMS[:1]])),
        ValueInvalidError,
        ("row 40, column item_id, value 'i0'", "keep one row"),
    ),
    Case(
        "undeclared feature",
        task_of(lambda rows: rows.drop("price")),
        SchemaError,
        ("feature's column is missing", "column price"),
    ),
    Case(
        "feature of another type",
        task_of(lambda rows: rows.with_columns(price=pl.lit("dear"))),
        SchemaError,
        ("column price", "numbers, not String", "convert"),
    ),
    Case(
        "users of two types",
        lambda here, shop: task_of(
            lambda rows: rows, events=shop.events.with_columns(user_id=pl.lit(7))
        )(here, shop),
        SchemaError,
        ("column user_id", "cannot be compared: String and Int32", "same type"),
    ),
    *(
        Case(
            f"task.json is {text}",
            task_json(text),
            FileUnreadableError,
            ("task.json", said, "build"),
        )
        for text, said in (("[]", "no readable task"), ('{"format": 1}', "lacks id, data_hash"))
    ),
    Case(
        "task without its items",
        task_without_items,
        FileUnreadableError,
        ("items.parquet", "items of the task cannot be read", "build the task again"),
    ),
    Case(
        "task of another format",
        task_json('{"format": 99}'),
        FileUnreadableError,
        ("task.json, value 99", "another format", "build the task again"),
    ),
    Case(
        "task.json cut off",
        task_json('{"format": 1, "na'),
        FileUnreadableError,
        ("task.json", "no readable task", "build one"),
    ),
    Case(
        "different row groups",
        stream(lambda _, events: pl.read_parquet(events).write_parquet(events, row_group_size=20)),
        FileUnreadableError,
        ("rows.parquet", "different numbers of row groups", "write both files"),
    ),
    Case(
        "row sees more than there is",
        stream(lambda rows, _: rewrite(rows, visible=pl.lit(9999))),
        ValueInvalidError,
        ("column visible, value 9999", "more events than its person has", "write both files"),
    ),
    *(
        Case(
            f"row sees {seen}",
            stream_where_rows_see(seen),
            ValueInvalidError,
            ("column visible", "how many events it sees", "write both files"),
        )
        for seen in (None, -3, "all")
    ),
    Case(
        "stream without a feature",
        stream(lambda rows, _: pl.read_parquet(rows).drop("store").write_parquet(rows)),
        SchemaError,
        ("column store", "missing", "the table has"),
    ),
    Case(
        "stream of text",
        stream(lambda rows, _: rows.write_text("not Parquet")),
        FileUnreadableError,
        ("rows.parquet", "not a readable Parquet", "build the task again"),
    ),
]


@pytest.mark.parametrize("case", TASKS, ids=named)
def test_tasks(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)
