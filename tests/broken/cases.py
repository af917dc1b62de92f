"""Broken inputs, a case each, and how a case is checked.

Each goes through the entry that a user would take; the error must be of the documented class, name
the place and say what to do, and the folder must hold the same bytes as before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright import RunConfig
from adwright.core.config import load_toml
from adwright.core.errors import AdwrightError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.sources.tables import read_events
from adwright.data.tasks.task import Task, write_task
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.scoring import score_file
from tests.support.data.ranking_task import FEATURES, ITEMS

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


def spoil(source: Path, target: Path) -> Path:
    """The Parquet file with damaged pages between two sound ends."""
    data = bytearray(source.read_bytes())
    for i in range(4, len(data) // 3):
        data[i] ^= 0xFF
    target.write_bytes(data)
    return target


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


def run_file(text: str | bytes) -> Make:
    return raw("run.toml", text, lambda path: load_toml(path, RunConfig))


def scored(
    rows: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    events: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    out: str = "scores.parquet",
) -> Make:
    """Score rows and events after these changes, 100 rows at a time."""

    def make(here: Path, shop: Shop) -> Call:
        for name, table, change in (("rows", shop.rows, rows), ("events", shop.events, events)):
            (change(table) if change else table).write_parquet(here / f"{name}.parquet")
        paths = (here / "rows.parquet", here / "events.parquet", here / out)
        return lambda: score_file(shop.ranker, *paths, chunk=100)

    return make


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
