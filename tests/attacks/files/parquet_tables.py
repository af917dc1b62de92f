"""Parquet and atomic files that nobody should send, and Parquet with flipped bits."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.errors import DataError
from adwright.data.sources.atomic_files import read_atomic
from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.tables import read_items
from tests.attacks.attack import Attack
from tests.attacks.files.reading import Wanted, events_of, items_of, judged, odd_file

FLIPS, ROWS = 60, 500
US = pa.timestamp("us")
DAMAGED = ("the file is damaged",)


def events(rows: int = 2, **columns: Any) -> pa.Table:
    """Events with these columns instead; None leaves one out."""
    texts = {
        name: pa.array([f"{name[0]}{n}" for n in range(rows)])
        for name in ("event_id", "request_id", "user_id", "item_id")
    }
    table = {**texts, "time": pa.array(range(rows), US), "kind": pa.array(["click"] * rows)}
    return pa.table({n: v for n, v in {**table, **columns}.items() if v is not None})


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def _time(value: int, unit: str, zone: str | None = None) -> pa.Table:
    return events(1, time=pa.array([value], pa.timestamp(unit, tz=zone)))


def _text(size: int) -> pa.Array:
    return pa.array(['{"a": "' + "x" * size + '"}'])


YEARS: tuple[str, ...] = ("years 1 to 9999", "row 0", "column time")
TABLES: list[tuple[str, pa.Table, Wanted]] = [
    ("no rows", events(0), ("holds no event",)),
    ("a time before year 1", _time(-62_135_596_800_000_001, "us"), YEARS),
    ("a time after year 9999", _time(253_402_300_800_000_000, "us"), YEARS),
    ("the first number of 64 bits", _time(-(2**63), "us"), YEARS),
    ("the last number of 64 bits", _time(2**63 - 1, "us"), YEARS),
    ("milliseconds beyond all", _time(2**62, "ms"), YEARS),
    ("nanoseconds of 1677", _time(-(2**63) + 1, "ns"), 1),
    ("a zone on Mars", _time(0, "us", "Mars/Olympus"), ("zone 'Mars/Olympus' is unknown",)),
    ("a zone of 5,000 signs", _time(0, "us", "A" * 5000), ("is unknown", "column time")),
    ("a zone by hours", _time(0, "us", "+05:00"), 1),
    ("a zone by name", _time(0, "us", "Asia/Kathmandu"), 1),
    ("dates", events(1, time=pa.array([1], pa.date32())), 1),
    ("times of day", events(1, time=pa.array([1], pa.time64("us"))), ("must be a timestamp",)),
    ("durations", events(1, time=pa.array([1], pa.duration("us"))), ("must be a timestamp",)),
    ("times as text", events(1, time=pa.array(["2024-01-01"])), 1),
    ("times of nothing", events(1, time=pa.array([None], US)), ("time must not be empty",)),
    ("ids of whole numbers", events(2, user_id=pa.array([1, 2])), 2),
    ("ids of the largest number", events(1, user_id=pa.array([2**64 - 1], pa.uint64())), 1),
    ("ids that are NaN", events(1, user_id=pa.array([float("nan")])), ("empty or NaN",)),
    ("ids of floats", events(1, user_id=pa.array([1.5])), ("user_id must be text",)),
    ("ids of bytes", events(1, user_id=pa.array([b"\xff"])), ("user_id must be text",)),
    ("ids of decimals", events(1, user_id=pa.array([1], pa.decimal128(9))), ("must be text",)),
    ("ids of truth", events(1, user_id=pa.array([True])), ("user_id must be text",)),
    ("ids of lists", events(1, user_id=pa.array([["a"]])), ("user_id must be text",)),
    ("ids in a dictionary", events(1, user_id=pa.array(["a"]).dictionary_encode()), 1),
    ("ids of no type", events(1, user_id=pa.nulls(1)), ("user_id must not be empty",)),
    ("a column missing", events(1, item_id=None), ("missing: item_id",)),
    ("a column too many", events(1, **{"\x1b[31m": pa.array([1])}), 1),
    ("a column without a name", events(1, **{"": pa.array([1])}), 1),
    ("a text of 6 MB", events(1, context=_text(6_000_000)), ("4,194,",)),
    ("a text of 3 MB", events(1, context=_text(3_000_000)), 1),
]


def _nested(depth: int, path: Path) -> None:
    kind = pa.int32()
    for _ in range(depth):
        kind = pa.struct([pa.field("a", kind)])
    _write(pa.table({"item_id": ["x"], "deep": pa.nulls(1, kind)}), path)


def _wide(columns: int, path: Path) -> None:
    names = [f"c{number}" for number in range(columns - 1)]
    _write(pa.table([pa.array(["1"])] * columns, names=["item_id", *names]), path)


def _repeated(rows: int, path: Path) -> None:
    """One id, over and over: 2.4 kB a million rows."""
    part = pa.table({"item_id": pa.array(["x"] * 1_000_000)})
    with pq.ParquetWriter(path, part.schema) as writer:
        for _ in range(rows // 1_000_000):
            writer.write_table(part)


def _altered(change: Callable[[bytes], bytes], path: Path) -> None:
    _write(events(50), path)
    path.write_bytes(change(path.read_bytes()))


ALTERED: list[tuple[str, Callable[[bytes], bytes], Wanted]] = [
    ("nothing in it", lambda _: b"", ("the file is empty",)),
    ("two bytes", lambda _: b"PA", ("not a Parquet file",)),
    ("the mark alone", lambda _: b"PAR1", DAMAGED),
    ("two marks", lambda _: b"PAR1PAR1", DAMAGED),
    ("zeros between marks", lambda _: b"PAR1" + bytes(99) + b"PAR1", DAMAGED),
    ("half of it", lambda data: data[: len(data) // 2], ("its end is missing",)),
    ("all but the mark", lambda data: data[:-4], ("its end is missing",)),
    ("its end alone", lambda data: b"PAR1" + data[-200:], DAMAGED),
    ("a footer of 4 GB", lambda data: data[:-8] + b"\xff\xff\xff\xff" + b"PAR1", DAMAGED),
    ("the mark of encryption", lambda data: data[:-4] + b"PARE", ("its end is missing",)),
    ("twice the file", lambda data: data + data, 50),
    ("text in front", lambda data: b"hello" + data, ("not a Parquet file",)),
    ("CSV by that name", lambda _: b"event_id,time\n", ("not a Parquet file",)),
]


def _parts(first: pa.Table, second: pa.Table, path: Path) -> None:
    path.mkdir()
    _write(first, path / "a.parquet")
    _write(second, path / "b.parquet")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


def _renamed(table: pa.Table) -> pa.Table:
    return table.set_column(0, "event_id", pa.array([f"x{n}" for n in range(table.num_rows)]))


PLACES: list[tuple[str, str, Callable[[Path], None], Wanted]] = [
    ("a pipe as CSV", "log.csv", _fifo, ("neither a file nor a folder",)),
    ("a pipe as Parquet", "log.parquet", _fifo, ("neither a file nor a folder",)),
    ("a device", "log.csv", partial(_link, "/dev/zero"), ("neither a file nor a folder",)),
    ("a link to nothing", "log.csv", partial(_link, "/none"), ("there is no such log",)),
    ("a link to itself", "log.csv", partial(_link, "log.csv"), ("there is no such log",)),
    ("a folder by the name of a file", "log.csv", Path.mkdir, ("holds no Parquet files",)),
    ("another ending", "log.xlsx", Path.touch, ("the file is empty",)),
    (
        "parts of two types",
        "parts",
        partial(_parts, events(1), _renamed(events(1, user_id=pa.array([1])))),
        ("Int64, which is String in a.parquet", "column user_id"),
    ),
    (
        "parts in two orders",
        "parts",
        partial(_parts, events(1), _renamed(events(1)).select(sorted(events().schema.names))),
        ("parts differ",),
    ),
    ("parts with one id", "parts", partial(_parts, events(1), events(1)), ("must be unique",)),
]


def _atomic(path: Path) -> int:
    tables = read_atomic(path.parent, path.stem)
    return int(tables.events.select(pl.len()).collect().item())


HALF = "user_id:token\titem_id:token\ttimestamp:float\trating\n"
FIELDS = "user_id:token\titem_id:token\ttimestamp:float\trating:float\n"
ATOMIC: list[tuple[str, str, Wanted]] = [
    ("read", f"{FIELDS}u\ti\t1\t5\n", 1),
    ("nothing in it", "", ("the file is empty",)),
    (
        "a field without a type",
        FIELDS.replace(":float\n", "\n") + "u\ti\t1\t5\n",
        ("no known type",),
    ),
    ("a field of another type", FIELDS.replace("g:float", "g:pickle"), ("no known type",)),
    ("a name twice", FIELDS.replace("rating:float", "timestamp:token"), ("share a name",)),
    ("no time", "user_id:token\titem_id:token\nu\ti\n", ("timestamp is missing",)),
    ("a time before year 1", f"{FIELDS}u\ti\t-99999999999\t5\n", ("years 1 to 9999",)),
    ("a time that is none", f"{FIELDS}u\ti\tnoon\t5\n", ("row 0", "column timestamp")),
    ("a rating that is none", f"{FIELDS}u\ti\t1\tfive\n", ("column rating",)),
    ("a tab too many", f"{FIELDS}u\ti\t1\t5\t\n", ("line 2 has 5 fields",)),
    ("a quote", f'{FIELDS}u"\ti\t1\t5\n', 1),
    ("commas", FIELDS.replace("\t", ","), ("header is missing",)),
    ("5,000 fields", "\t".join(f"f{n}:token" for n in range(5000)) + "\n", ("the bound is 4,000",)),
]


def _bounded(path: Path) -> int:
    return read_items(path, bounds=ReadBounds(memory=1 << 28)).height


def _all() -> Iterator[Attack]:
    for label, table, wanted in TABLES:
        yield odd_file(f"Parquet, {label}", "log.parquet", partial(_write, table), wanted)
    for label, change, wanted in ALTERED:
        yield odd_file(f"Parquet, {label}", "log.parquet", partial(_altered, change), wanted)
    for label, name, make, wanted in PLACES:
        yield odd_file(label, name, make, wanted)
    for label, text, wanted in ATOMIC:
        yield odd_file(f"atomic files, {label}", "data.inter", text, wanted, _atomic)
    deep = ("deep, the bound is 8", "column deep")
    for depth, words in ((7, ("cannot be of type",)), (50, deep), (2000, ("deeply nested",))):
        make = partial(_nested, depth)
        yield odd_file(f"Parquet, {depth} structs deep", "deep.parquet", make, words, items_of)
    beyond: tuple[str, ...] = ("columns, the bound is 4,000",)
    for columns, found in ((4_000, 1), (5_000, beyond), (100_000, beyond)):
        label, make = f"Parquet of {columns:,} columns", partial(_wide, columns)
        wanted = found if isinstance(found, int) else tuple(found)
        quick = columns < 100_000
        yield odd_file(label, "wide.parquet", make, wanted, items_of, quick=quick)
    label, make = "Parquet, 60 million rows in 150 kB", partial(_repeated, 60_000_000)
    words = ("GB of memory or more, the bound is 0.27 GB",)
    yield odd_file(label, "many.parquet", make, words, _bounded, quick=False)


ODD_FILES = list(_all())


def _flipped(seed: int, path: Path) -> None:
    compression = ("zstd", "none", "snappy")[seed % 3]
    pq.write_table(events(ROWS), path, compression=compression, row_group_size=100)
    data, draw = bytearray(path.read_bytes()), random.Random(seed)
    # Some in the pages, some in the footer, where lengths and offsets stand.
    start = 0 if seed % 2 else len(data) - 1500
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(start, len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def flipped_parquet() -> list[Attack]:
    """Each is read, since a flipped bit may make another letter, or refused by its name."""

    def attack(seed: int) -> Attack:
        def run(scratch: Path) -> dict[str, float]:
            path = scratch / f"{seed}.parquet"
            _flipped(seed, path)

            def read() -> int:
                try:
                    found = events_of(path)
                except DataError as error:
                    return int(path.name in error.file)
                # More rows than were written would be rows that nobody wrote.
                return int(found <= ROWS)

            return judged(read, path, 1)

        return Attack(f"Parquet, bits flipped by seed {seed}", run, quick=seed < 6)

    return [attack(seed) for seed in range(FLIPS)]
