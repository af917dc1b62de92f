"""Tables of events, items and campaigns."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import (
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.sources.atomic_files import read_atomic
from adwright.data.sources.log import open_log, read_log
from adwright.data.sources.tables import read_campaigns, read_events, read_items, write_events
from tests.broken.cases import (
    CSV_HEAD,
    LOG,
    NOON,
    Call,
    Case,
    Make,
    Shop,
    beside_a_file,
    check,
    log,
    named,
    raw,
    spoil,
)

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
