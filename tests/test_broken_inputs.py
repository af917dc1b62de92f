"""What is handed in broken is refused in plain words, and leaves nothing behind.

One row of a table a broken input. Each goes through the entry that a user would take; the error
must be of the documented class, name the place and say what to do, and the folder must hold the
same bytes as before.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from adwright import RunConfig
from adwright.cli import app
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import load_toml
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    FileUnreadableError,
    ResourceError,
    ResumeError,
    SchemaError,
    ValueInvalidError,
)
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.batches.stream import Stream, StreamConfig
from adwright.data.sources.atomic_files import read_atomic
from adwright.data.sources.log import open_log, read_log
from adwright.data.sources.tables import read_campaigns, read_events, read_items, write_events
from adwright.data.tasks.task import Task, write_task
from adwright.training.loop.position import RunPosition
from adwright.training.ranking.fit import fit
from adwright.training.ranking.fit import run_folder as run_folder_of_fit
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.scoring import events_of, score_file
from tests.support.data.ranking_task import FEATURES, FIT, ITEMS, shop_task, untrained

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
LOG = pl.DataFrame(
    {
        "event_id": ["e0", "e1", "e2"],
        "time": [NOON + timedelta(hours=n) for n in range(3)],
        "request_id": ["r0", "r1", "r2"],
        "user_id": ["u0", "u0", "u1"],
        "kind": ["impression", "click", "purchase"],
        "item_id": ["i0", "i1", "i2"],
    }
)
CSV_HEAD = "event_id,time,request_id,user_id,kind,item_id\n"
ATOMIC_HEAD = "user_id:token\titem_id:token\ttimestamp:float"


@dataclass(frozen=True)
class Shop:
    """A task, an untrained ranker of it, and rows and events to score. Read only."""

    task: Task
    ranker: Ranker
    folder: Path

    @property
    def rows(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "rows.parquet")

    @property
    def events(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "events.parquet")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("shop")
    task = shop_task(folder / "task", users=8)
    ranker = Ranker(untrained(task), task.spec, task.items)
    ranker.save(folder / "ranker")
    rows = task.rows("test").collect().drop("visible", "frequency")
    rows.write_parquet(folder / "rows.parquet", compression="uncompressed")
    events = pl.read_parquet(task.events_path("test"))
    events.write_parquet(folder / "events.parquet", compression="uncompressed")
    return Shop(task, ranker, folder)


Call = Callable[[], object]
Make = Callable[[Path, Shop], Call]


@dataclass(frozen=True)
class Case:
    """`make` writes the broken input into a folder and returns the call that must refuse it
    with `error`, whose text holds `parts`."""

    name: str
    make: Make
    error: type[AdwrightError]
    parts: tuple[str, ...]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder` with its bytes, hidden ones and folders included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# Tables of events, items and campaigns.


def log(strict: bool = False, **columns: Any) -> Make:
    """A Parquet log in which `columns` are replaced; None drops one."""

    def make(here: Path, _: Shop) -> Call:
        kept = LOG.drop(name for name, values in columns.items() if values is None)
        given = {n: v for n, v in columns.items() if v is not None}
        table = kept.with_columns(**{n: pl.Series(v, strict=False) for n, v in given.items()})
        table.write_parquet(here / "log.parquet")
        return lambda: read_events(here / "log.parquet", strict_time_order=strict)

    return make


def raw(name: str, data: bytes | str, read: Callable[[Path], object] = read_events) -> Make:
    """A file of these very bytes."""

    def make(here: Path, _: Shop) -> Call:
        (here / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return lambda: read(here / name)

    return make


def beside_a_file(call: Callable[[Path, Shop], object]) -> Make:
    """Call with the path of a file that stands where a folder should."""

    def make(here: Path, shop: Shop) -> Call:
        (here / "file").write_text("mine")
        return lambda: call(here / "file", shop)

    return make


def cut_off(here: Path, _: Shop) -> Call:
    LOG.write_parquet(here / "log.parquet")
    data = (here / "log.parquet").read_bytes()
    (here / "log.parquet").write_bytes(data[: len(data) // 2])
    return lambda: read_events(here / "log.parquet")


def spoil(source: Path, target: Path) -> Path:
    """The Parquet file with damaged pages between two sound ends."""
    data = bytearray(source.read_bytes())
    for i in range(4, len(data) // 3):
        data[i] ^= 0xFF
    target.write_bytes(data)
    return target


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
    Case("time as text", log(time=["x"] * 3), SchemaError, ("column time", "not String", "cast")),
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
        catalogue(items=KNOWN[:2]),
        ValueInvalidError,
        ("log.parquet, row 2, column item_id, value 'i2'", "add the item"),
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


# Tasks and streams.


def task_of(change: Callable[[pl.DataFrame], pl.DataFrame], **other: Any) -> Make:
    """A task written from the shop's rows after `change`."""

    def make(here: Path, shop: Shop) -> Call:
        rows = shop.rows.with_columns(split=pl.lit("train"))
        tables = {"rows": change(rows), "events": shop.events, "items": ITEMS, **other}
        return lambda: write_task(
            here / "task", name="", protocol="", data_hash="", features=FEATURES, **tables
        )

    return make


def at_row(row: int, column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    there = pl.int_range(pl.len()) == row
    changed = pl.when(there).then(pl.lit(value)).otherwise(column).alias(column)
    return lambda rows: rows.with_columns(changed)


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
        "people of two types",
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


# Artifacts and runs.


def artifact(change: Callable[[Path], object]) -> Make:
    """A saved ranker after `change` of its folder."""

    def make(here: Path, shop: Shop) -> Call:
        shutil.copytree(shop.folder / "ranker", here / "ranker")
        change(here / "ranker")
        return lambda: Ranker.load(here / "ranker")

    return make


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest, and make its id right again as a forger would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["id"] = content_hash({k: v for k, v in manifest.items() if k != "id"})
    path.write_text(json.dumps(manifest))


def forge(folder: Path, name: str, data: bytes) -> None:
    """Put `data` into the file, with every hash right."""
    entry = {"sha256": sha256_bytes(data), "bytes": len(data)}
    (folder / name).write_bytes(data)
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: entry}))


def manifest_without_its_id(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def manifest_is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def other_kind(here: Path, _: Shop) -> Call:
    tensors = {"a": np.zeros(2)}
    save_artifact(here / "other", kind="index", config={}, tensors=tensors)
    return lambda: Ranker.load(here / "other")


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


def run_file(text: str | bytes) -> Make:
    return raw("run.toml", text, lambda path: load_toml(path, RunConfig))


ARTIFACTS = [
    Case(
        "pickle for tensors",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ArtifactUnsafeError,
        ("tensors.safetensors is a pickle", "could run code", "store arrays as tensors"),
    ),
    Case(
        "zip of torch.save",
        artifact(lambda f: torch.save({"a": 1}, f / "model.pt")),
        ArtifactUnsafeError,
        ("model.pt is a pickle",),
    ),
    Case(
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ArtifactCorruptError,
        ("tensors.safetensors", "SHA-256 differs", "copy or make"),
    ),
    Case(
        "tensors that are none",
        artifact(lambda f: forge(f, "tensors.safetensors", b"\0" * 64)),
        ArtifactCorruptError,
        ("tensors.safetensors", "cannot be read"),
    ),
    Case(
        "extra file",
        artifact(lambda f: (f / "notes.txt").write_text("mine")),
        ArtifactCorruptError,
        ("notes.txt", "manifest does not list", "copy or make"),
    ),
    Case(
        "missing file",
        artifact(lambda f: (f / "items.parquet").unlink()),
        ArtifactCorruptError,
        ("items.parquet", "missing"),
    ),
    Case(
        "path traversal",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"].update({"../secret": m["files"]["items.parquet"]})
            )
        ),
        ArtifactUnsafeError,
        ("'../secret'", "could leave", "relative name"),
    ),
    Case(
        "symbolic link",
        artifact(lambda f: (f / "link").symlink_to(f.parent)),
        ArtifactUnsafeError,
        ("link is a symbolic link", "store the file itself"),
    ),
    Case(
        "hash of a file",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"]["items.parquet"].update(sha256="0" * 64)
            )
        ),
        ArtifactCorruptError,
        ("items.parquet", "SHA-256 differs"),
    ),
    Case(
        "id of the manifest",
        artifact(manifest_without_its_id),
        ArtifactCorruptError,
        ("manifest.json", "differs from its own id"),
    ),
    Case(
        "newer format",
        artifact(lambda f: edit_manifest(f, lambda m: m.update(format_version=99))),
        ArtifactError,
        ("manifest.json", "format 99", "version of adwright that wrote it"),
    ),
    Case(
        "manifest is a folder",
        artifact(manifest_is_a_folder),
        ArtifactError,
        ("manifest.json", "cannot be read", "a file"),
    ),
    Case(
        "calibrator of no known form",
        artifact(lambda f: forge(f, "calibrator.json", b"[]")),
        ArtifactError,
        ("[/", "/ranker]", "calibrator", "fit it again"),
    ),
    Case("other kind", other_kind, ArtifactError, ("other", "'index', not 'ranker'", "pass the")),
    Case(
        "artifact is a file",
        raw("ranker", "hello", load_artifact),
        ArtifactError,
        ("ranker", "no artifact here", "manifest.json"),
    ),
    Case(
        "artifact below a file",
        beside_a_file(lambda file, shop: shop.ranker.save(file / "it")),
        ResourceError,
        ("not a folder", "choose another path"),
    ),
    Case(
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ConfigError,
        ("run.toml, key fit.epoch", "unknown key", "spelling"),
    ),
    Case(
        "wrong type",
        run_file('seed = "3"\n'),
        ConfigError,
        ("run.toml, key seed", "valid integer", '"3"', "correct the value"),
    ),
    Case(
        "value out of range",
        run_file("[fit]\nlearning_rate = nan\n"),
        ConfigError,
        ("run.toml", "learning_rate must be positive"),
    ),
    Case("broken TOML", run_file("seed = \n"), ConfigError, ("run.toml", "line 1", "mend")),
    Case("run file in UTF-16", run_file(b"\xff\xfes"), ConfigError, ("run.toml", "UTF-8")),
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
        ("config.json, task another", "begin a new run"),
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


# Scoring.


def scored(
    rows: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    events: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    out: str = "scores.parquet",
) -> Make:
    """Score rows and events after these changes, 100 rows at a time."""

    def make(here: Path, shop: Shop) -> Call:
        for name, table, change in (
            ("rows", shop.rows, rows),
            ("events", shop.events, events),
        ):
            (change(table) if change else table).write_parquet(here / f"{name}.parquet")
        paths = (here / "rows.parquet", here / "events.parquet", here / out)
        return lambda: score_file(shop.ranker, *paths, chunk=100)

    return make


def spoilt(name: str) -> Make:
    """Score files of which one has damaged pages."""

    def make(here: Path, shop: Shop) -> Call:
        for whole in ("rows", "events"):
            shutil.copy(shop.folder / f"{whole}.parquet", here)
        spoil(shop.folder / f"{name}.parquet", here / f"{name}.parquet")
        rows, events = here / "rows.parquet", here / "events.parquet"
        return lambda: score_file(shop.ranker, rows, events, here / "scores.parquet")

    return make


def one_person(here: Path, shop: Shop) -> Call:
    spoil(shop.folder / "events.parquet", here / "events.parquet")
    return lambda: events_of(here / "events.parquet", "u1")


def into_a_folder(here: Path, shop: Shop) -> Call:
    (here / "scores.parquet").mkdir()
    rows, events = shop.folder / "rows.parquet", shop.folder / "events.parquet"
    return lambda: score_file(shop.ranker, rows, events, here / "scores.parquet", overwrite=True)


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
        ("events.parquet, column time", "events lack", "need user_id"),
    ),
    Case(
        "null item",
        scored(at_row(150, "item_id", None)),
        ValueInvalidError,
        ("rows.parquet, row 150, column item_id", "empty value"),
    ),
    Case(
        "blank person",
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
        "NaN people",
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
    Case("damaged history", one_person, FileUnreadableError, ("events.parquet", "damaged")),
    Case("scores into a folder", into_a_folder, ResourceError, ("scores.parquet", "by a folder")),
    Case(
        "scores below a file",
        scored(out="rows.parquet/scores.parquet"),
        ResourceError,
        ("scores.parquet", "choose another path"),
    ),
]


def check(case: Case, here: Path, shop: Shop) -> None:
    call = case.make(here, shop)
    before = contents(here)
    with pytest.raises(AdwrightError) as caught:
        call()
    text = str(caught.value)
    assert type(caught.value) is case.error, text
    for part in case.parts:
        assert part in text, text
    assert contents(here) == before


def named(case: Case) -> str:
    return case.name


@pytest.fixture(autouse=True)
def _scratch(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scratch files of the library lie below the folder that is compared, torch's elsewhere."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "torch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))


@pytest.mark.parametrize("case", TABLES, ids=named)
def test_tables(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


@pytest.mark.parametrize("case", TASKS, ids=named)
def test_tasks(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


@pytest.mark.parametrize("case", ARTIFACTS, ids=named)
def test_artifacts_and_runs(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


@pytest.mark.parametrize("case", SCORES, ids=named)
def test_scoring(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


def test_people_without_history_and_unknown_items_are_scored(tmp_path: Path, shop: Shop) -> None:
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


# The command line.

CLI: list[tuple[str, Make, tuple[str, ...], tuple[str, ...]]] = [
    (
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ("train", "run.toml", "--out", "out"),
        ("unknown key", "run.toml, key fit.epoch", "remove it"),
    ),
    (
        "wrong type",
        run_file('seed = "3"\n'),
        ("train", "run.toml", "--out", "out"),
        ("valid integer", "run.toml, key seed", "correct the value"),
    ),
    (
        "no task",
        run_file("base = false\n"),
        ("train", "run.toml", "--task", "nowhere", "--out", "out"),
        ("no readable task", "nowhere/task.json", "adwright data import"),
    ),
    (
        "bad row",
        log(kind=["click", "glance", "click"]),
        ("data", "import", "log.parquet", "out"),
        ("kind is not one", "log.parquet, row 1, column kind, value 'glance'", "use one of"),
    ),
    (
        "text named .parquet",
        raw("log.parquet", CSV_HEAD),
        ("data", "describe", "log.parquet"),
        ("not a Parquet file", "log.parquet", "rename it"),
    ),
    (
        "output below a file",
        log(),
        ("data", "import", "log.parquet", "log.parquet/out"),
        ("not a folder", "log.parquet/out", "choose another path"),
    ),
    (
        "scored without a column",
        scored(lambda rows: rows.drop("price")),
        ("score", "{ranker}", "rows.parquet", "--events", "events.parquet", "--out", "s.parquet"),
        ("trained on: price", "rows.parquet, column price", "add them"),
    ),
    (
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ("evaluate", "ranker", "--task", "{task}", "--out", "report.json"),
        ("SHA-256 differs", "ranker/tensors.safetensors", "copy or make"),
    ),
    (
        "pickle",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ("explain", "ranker", "i0", "--user", "u0", "--events", "none.parquet"),
        ("is a pickle", "ranker", "store arrays as tensors"),
    ),
]


@pytest.mark.parametrize(
    ("make", "command", "parts"), [c[1:] for c in CLI], ids=[c[0] for c in CLI]
)
def test_command_line(
    make: Make,
    command: tuple[str, ...],
    parts: tuple[str, str, str],
    tmp_path: Path,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and three lines: what, where, and what to do."""
    make(tmp_path, shop)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    places = {"ranker": shop.folder / "ranker", "task": shop.folder / "task"}
    result = CliRunner().invoke(app, [word.format(**places) for word in command])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for start, part in zip(("Error: ", "  where: ", "  to do: "), parts, strict=True):
        line = next(line for line in result.output.splitlines() if line.startswith(start))
        assert part in line
    assert contents(tmp_path) == before


# A full disk.


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page of 4 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command, so no small disk to fill")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here (it needs root): {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def csv_through_a_full_scratch(disk: Path, shop: Shop) -> object:
    rows = disk.parent / "rows.csv"
    pl.concat([shop.rows] * 20).write_csv(rows, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    tempfile.tempdir = str(disk)  # the fixture puts it back
    return score_file(
        shop.ranker, rows, shop.folder / "events.parquet", disk.parent / "scores.parquet"
    )


FULL: dict[str, Callable[[Path, Shop], object]] = {
    "artifact": lambda disk, shop: shop.ranker.save(disk / "ranker"),
    "task": lambda disk, shop: task_of(lambda rows: rows)(disk, shop)(),
    "scores": lambda disk, shop: score_file(
        shop.ranker,
        shop.folder / "rows.parquet",
        shop.folder / "events.parquet",
        disk / "s.parquet",
    ),
    "scores from CSV": csv_through_a_full_scratch,
    "events": lambda disk, shop: write_events(disk / "log.parquet", pl.concat(many())),
    "CSV": lambda disk, shop: write_events(disk / "log.csv", pl.concat(many())),
}


def many() -> list[pl.DataFrame]:
    return [LOG.with_columns(event_id=pl.format("{}-{}", "event_id", n)) for n in range(500)]


@pytest.mark.parametrize("name", FULL)
def test_full_disk(name: str, full_disk: Path, shop: Shop) -> None:
    with pytest.raises(ResourceError, match=r"the disk is full \[.*\] -> free some space"):
        FULL[name](full_disk, shop)
    assert list(full_disk.iterdir()) == []
    assert not (full_disk.parent / "scores.parquet").exists()
    assert not list(full_disk.parent.glob(".*"))
