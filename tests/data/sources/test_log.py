"""What is promised of these, and what is refused."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.column_kinds import RULE, FoundColumn
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.frames import as_frame, id_text
from adwright.data.sources.log import (
    Description,
    Log,
    LogFormat,
    LogSummary,
    describe,
    find_oddities,
    open_log,
    read_atomic_log,
    read_log,
    save_log,
    say_notes,
    summarise,
    with_column_kinds,
)
from adwright.data.sources.mapped import ImportNotes, LogMapping

TIMES = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 3)]
EVENTS = validate_events(
    pl.DataFrame(
        {
            "event_id": ["e1", "e2", "e3", "e4"],
            "time": TIMES,
            "request_id": ["r1", "r2", "r3", "r3"],
            "user_id": ["a", "b", "a", "a"],
            "kind": ["impression", "click", "purchase", "redemption"],
            "item_id": ["x", "y", "x", "coupon"],
        }
    )
)
ITEMS = pl.DataFrame({"item_id": ["x", "y", "z"], "type": ["tea", "jam", None], "price": [1, 2, 3]})
USERS = pl.DataFrame({"user_id": ["1", "b"], "age": [30, 40]})


def made() -> Log:
    campaigns = pl.DataFrame({"campaign_id": ["c"], "start": TIMES[:1]})
    return Log(EVENTS.lazy(), Catalogue.checked(ITEMS, campaigns=campaigns), USERS)


def same(left: Log, right: Log) -> bool:
    users = left.users is not None and right.users is not None
    return (
        left.events.collect().equals(right.events.collect())
        and left.catalogue.items.equals(right.catalogue.items)
        and left.catalogue.campaigns.equals(right.catalogue.campaigns)
        and users
        and pl.DataFrame(left.users).equals(pl.DataFrame(right.users))
    )


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_saved_log_opens_as_it_was(form: LogFormat, tmp_path: Path) -> None:
    save_log(tmp_path / "log", made(), format=form)
    assert same(open_log(tmp_path / "log"), made())
    names = {path.stem for path in (tmp_path / "log").iterdir()}
    assert names == {"events", "items", "campaigns", "users"}


def test_atomic_files_there_and_back(tmp_path: Path) -> None:
    save_log(tmp_path / "log", made(), format="atomic", name="mine")
    again = read_atomic_log(tmp_path / "log", "mine")
    assert again.events.collect().equals(EVENTS)
    assert again.catalogue.items["item_id"].to_list() == ["x", "y", "z"]
    assert {path.name for path in (tmp_path / "log").iterdir()} == {
        "mine.inter",
        "mine.item",
        "mine.user",
    }


def test_a_file_alone_gives_the_ids_as_catalogue(tmp_path: Path) -> None:
    EVENTS.write_parquet(tmp_path / "events.parquet")
    found = open_log(tmp_path / "events.parquet")
    assert found.catalogue.items.to_dict(as_series=False) == {"item_id": ["x", "y"]}


def test_items_must_be_known(tmp_path: Path) -> None:
    EVENTS.write_parquet(tmp_path / "e.parquet")
    ITEMS[2:].write_csv(tmp_path / "items.csv")
    with pytest.raises(ValueInvalidError, match=r"e\.parquet, row 0, column item_id, value 'x'"):
        read_log(tmp_path / "e.parquet", items=tmp_path / "items.csv")


def test_items_that_the_catalogue_lacks_are_added_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    EVENTS.write_parquet(tmp_path / "e.parquet")
    with caplog.at_level("WARNING", "adwright"):
        found = read_log(tmp_path / "e.parquet", items=ITEMS[:1])
    assert found.catalogue.items.rows() == [("x", "tea", 1), ("y", None, None)]
    (odd,) = found.notes.odd
    assert odd.startswith("1 events are of 1 items that the catalogue lacks")
    assert odd in caplog.text


def test_a_foreign_log_is_opened_by_its_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder as it is downloaded: events.csv and items.csv in their own columns."""
    (tmp_path / "events.csv").write_text("visitorid,itemid,timestamp,event\n1,x,5,view\n")
    (tmp_path / "items.csv").write_text("sku,category\nx,7\ny,8\n")
    with caplog.at_level("INFO", "adwright"):
        found = open_log(tmp_path)
    assert found.events.collect()["kind"].to_list() == ["view"]
    assert found.catalogue.items.rows() == [("x", "7"), ("y", "8")]
    assert found.column_kinds == {"category": "category"}
    assert "visitorid is taken as user_id" in caplog.text


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_was_said_of_a_log_is_kept_with_it(form: LogFormat, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "user,sku,time,event,store,note\na,x,5,order,1,n\na,y,6,view,2,n\n"
    )
    items = [{"sku": "x", "year": 1990, "brand": 3}, {"sku": "y", "year": 1991, "brand": 4}]
    mapping = LogMapping(context=("store",), column_kinds={"year": "category"})
    log = read_log(tmp_path / "log.csv", items=items, mapping=mapping)
    summary = summarise(log)
    save_log(tmp_path / "kept", log, format=form, summary=summary)
    again = open_log(tmp_path / "kept")
    assert again.catalogue.items.rows() == [("x", "1990", "3"), ("y", "1991", "4")]
    assert again.column_kinds == {"year": "category", "brand": "category", "store": "category"}
    assert again.context == ("store",)
    assert again.notes == log.notes
    assert "note" in again.notes.columns_left
    assert summarise(again) == summary
    (tmp_path / "kept" / "summary.json").write_text("{")
    with pytest.raises(FileUnreadableError, match=r"cannot be read .*summary\.json"):
        open_log(tmp_path / "kept")


def test_what_fails_after_the_tables_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        assert (folder / "events.parquet").is_file()
        raise ValueInvalidError("no")

    with pytest.raises(ValueInvalidError):
        save_log(tmp_path / "log", made(), also=fails)
    assert list(tmp_path.iterdir()) == []


def test_people_may_be_known_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("customer,sku,time\na,x,5\nb,y,6\n")
    (tmp_path / "people.csv").write_text("customer;city\na;Bonn\nb;Ulm\n")
    found = read_log(tmp_path / "log.csv", users=tmp_path / "people.csv")
    assert found.users is not None
    assert found.users.rows() == [("a", "Bonn"), ("b", "Ulm")]
    assert found.column_kinds == {"city": "category"}


def test_columns_of_any_log_are_told_apart() -> None:
    found = with_column_kinds(made(), {"age": "category"})
    assert found.column_kinds == {"type": "category", "price": "number", "age": "category"}
    assert found.users is not None
    assert found.users["age"].to_list() == ["30", "40"]


def test_creatives_and_campaigns_are_read(tmp_path: Path) -> None:
    EVENTS.write_parquet(tmp_path / "e.parquet")
    ITEMS.write_parquet(tmp_path / "i.parquet")
    (tmp_path / "c.csv").write_text("creative_id,item_id,text\nc1,x,Fine tea\n")
    (tmp_path / "p.csv").write_text("campaign_id,start\np1,2024-01-01\n")
    found = read_log(
        tmp_path / "e.parquet",
        items=tmp_path / "i.parquet",
        creatives=tmp_path / "c.csv",
        campaigns=tmp_path / "p.csv",
    )
    assert found.catalogue.creatives["text"].to_list() == ["Fine tea"]
    assert found.catalogue.campaigns["campaign_id"].to_list() == ["p1"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    lists = Catalogue.checked(ITEMS.with_columns(tags=pl.lit(["a"])))
    with pytest.raises(SchemaError, match="lists"):
        save_log(tmp_path / "log", Log(EVENTS.lazy(), lists), format="csv")
    with pytest.raises(ConfigError, match="xml"):
        save_log(tmp_path / "log", made(), format="xml")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    save_log(tmp_path / "log", made())
    with pytest.raises(ResourceError, match="exists"):
        save_log(tmp_path / "log", made())
    save_log(tmp_path / "log", made(), overwrite=True)


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="complete-journey, open-bandit, movielens"):
        open_log("complete-jorney")


@pytest.mark.parametrize(
    ("name", "events", "kinds"),
    [
        ("open-bandit", 60_287, {"impression": 60_000, "click": 287}),
        ("movielens", 100_000, {"rating": 100_000}),
        ("complete-journey", 1_471_409, {"purchase": 1_469_307, "redemption": 2_102}),
    ],
)
def test_public_logs(name: str, events: int, kinds: dict[str, int]) -> None:
    found = describe(open_log(name))
    assert found.events == events
    assert found.kinds == kinds


def test_the_words_for_a_log_count_what_is_in_it() -> None:
    found = describe(made())
    assert (found.events, found.users, found.items) == (4, 2, 3)
    assert (found.first, found.last) == (TIMES[0], TIMES[-1])
    assert sorted(found.kinds.items()) == [
        ("click", 1),
        ("impression", 1),
        ("purchase", 1),
        ("redemption", 1),
    ]
    assert found.history["shortest"] == 1
    assert found.history["longest"] == 3
    assert found.catalogue == {"items": 3, "creatives": 0, "campaigns": 1, "users": 2}
    assert found.features == ("type", "price")


def test_a_log_whose_columns_are_known_takes_kinds_alone(tmp_path: Path) -> None:
    save_log(tmp_path / "log", made(), format="atomic", name="mine")
    kinds = LogMapping(column_kinds={"price": "category"})
    found = read_atomic_log(tmp_path / "log", "mine", mapping=kinds)
    assert found.column_kinds["price"] == "category"
    with pytest.raises(ConfigError, match="only their kinds can be said"):
        read_atomic_log(tmp_path / "log", "mine", mapping=LogMapping(time_zone="UTC"))
    with pytest.raises(ConfigError, match="only their kinds"):
        open_log("movielens", mapping=LogMapping(context=("a",)))
    assert open_log("movielens", mapping=LogMapping(column_kinds={"year": "category"})).column_kinds


def test_a_log_is_shown_in_a_line_and_by_its_first_events() -> None:
    log = made()
    n = log.catalogue.items.height
    assert repr(log).startswith(f"<Log of {n} items, of which is known: ")
    html = log._repr_html_()
    assert f"<p>Log of {n} items" in html
    assert "<table" in html
    assert log.events.head(1).collect()["event_id"][0] in html


START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
N = 400


def log(**columns: object) -> pl.LazyFrame:
    """A click an hour, each of another person of 100; `columns` stand in place of these."""
    table = pl.DataFrame(
        {
            "event_id": [f"e{n}" for n in range(N)],
            "time": [START + timedelta(hours=n) for n in range(N)],
            "request_id": [f"r{n}" for n in range(N)],
            "user_id": [f"u{n % 100}" for n in range(N)],
            "kind": ["click"] * N,
            "item_id": [f"i{n % 150}" for n in range(N)],
            "value": [1.0] * N,
        }
    )
    return validate_events(
        table.with_columns(**{n: pl.Series(v) for n, v in columns.items()})
    ).lazy()


def with_time(*times: datetime) -> list[datetime]:
    return [*times, *(START + timedelta(hours=n) for n in range(N - len(times)))]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"time": with_time(datetime(1970, 1, 1, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC))},
            "time: 2 events lie far from the others, from 1970-01-01 to 2019-01-01",
        ),
        (
            {"time": [datetime(1970, 1, 1, 0, 0, n % 60, tzinfo=UTC) for n in range(N)]},
            "time: the events lie around 1970-01-01; if these are places in a sequence",
        ),
        (
            {"time": with_time(datetime(2031, 5, 6, tzinfo=UTC))},
            "time: 1 of 400 events (0.25%) are dated after now, 2026-01-01 00:00 UTC, the latest "
            "2031-05-06 00:00",
        ),
        (
            {"time": with_time(*[datetime(2031, 5, 6, tzinfo=UTC)] * 100)},
            "time: 100 of 400 events (25.00%) are dated after now",
        ),
        ({"value": [-1.0, -2.0, *[1.0] * (N - 2)]}, "value: 2 events have a negative one"),
        (
            {"user_id": [f"u{n % 120}" if n > 99 else "robot" for n in range(N)]},
            "user_id: 'robot' has 100 of 400 events (25%)",
        ),
        (
            {"item_id": [f"i{n % 120}" if n > 99 else "bag" for n in range(N)]},
            "item_id: 'bag' has 100 of 400 events (25%)",
        ),
        (
            {
                "kind": ["impression", "click"] * (N // 2),
                "request_id": [f"r{n // 4}" for n in range(N)],
                "user_id": [f"u{n // 4}" for n in range(N)],
                "time": [START + timedelta(seconds=n if n != 1 else -1) for n in range(N)],
            },
            "1 of 200 responses are dated before the first impression of their request",
        ),
    ],
)
def test_each_oddity_is_said(columns: dict[str, object], words: str) -> None:
    (said,) = find_oddities(log(**columns), NOW)
    assert said.startswith(words)


SUMMARY = LogSummary(
    Description(3, 2, 2, START, START, {"click": 3}, {"median": 1.5}, {"items": 2}, ("type",)),
    {
        "type": FoundColumn("category", 2, "text"),
        "year": FoundColumn("number", 3, "its name says year"),
        "price": FoundColumn("number", 3, "fractions", odd="price: 1 cell is no number"),
    },
    ImportNotes(
        ("sku is taken as item_id",), {"equal to an earlier row": 4}, ("colour",), ("odd ids",)
    ),
    ("value: 2 events have a negative one",),
)


def test_a_summary_is_read_by_people() -> None:
    facts = SUMMARY.facts()
    assert facts["events"] == "3"
    assert facts["time"] == "2024-01-01 to 2024-01-01"
    assert facts["left out"] == "4 rows equal to an earlier row"
    assert facts["columns left out"].startswith("colour ")
    assert SUMMARY.sentences() == [
        "sku is taken as item_id",
        "type: category, 2 values (text)",
        "year: number (its name says year)",
        "price: number (fractions)",
        f"(By rule {RULE}. --column-kinds says otherwise)",
        "Warning: odd ids",
        "Warning: price: 1 cell is no number",
        "Warning: value: 2 events have a negative one",
    ]
    empty = LogSummary(Description(0, 0, 0, None, None, {}, {}, {}, ()))
    assert empty.facts()["time"] == "none"
    assert empty.sentences() == []


def test_notes_are_told_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "adwright"):
        say_notes(SUMMARY.notes, SUMMARY.columns)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "sku is taken as item_id"),
        ("INFO", "left out: the columns colour"),
        ("WARNING", "left out: 4 rows equal to an earlier row"),
        ("WARNING", "odd ids"),
        ("WARNING", "price: 1 cell is no number"),
    ]


TABLE = pl.DataFrame({"user": ["1", "2"], "title": ['a "b"', "c, d; e"], "n": ["1", None]})
QUOTED = 'user{0}title{0}n\n1{0}"a ""b"""{0}1\n2{0}"c, d; e"{0}\n'


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", [",", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_by_any_separator(tmp_path: Path, separator: str, end: str, *, packed: bool) -> None:
    data = QUOTED.format(separator).replace("\n", end).encode()
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = as_frame(path)
    assert found.frame.collect().equals(TABLE)
    assert (found.name, found.locate(1)) == (str(path), (str(path), 1))
    assert found.first_line == f"user{separator}title{separator}n"
    assert found.decimal_comma == (separator == ";")


def test_tabs_have_no_quotes(tmp_path: Path) -> None:
    for name in ("t.tsv", "t.txt", "t.csv"):
        (tmp_path / name).write_text('user\ttitle\n1\ta "b\n')
        assert as_frame(tmp_path / name).frame.collect().row(0) == ("1", 'a "b')


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json", "t.jsonl.gz", "t.ndjson.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    data = b'{"user": 1, "tags": ["a"]}\n{"user": 2}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert as_frame(tmp_path / name).frame.collect().rows() == [(1, ["a"]), (2, None)]


def test_parquet_and_its_parts(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "t.parquet")
    assert as_frame(tmp_path / "t.parquet").frame.collect().equals(TABLE)
    assert as_frame(str(tmp_path)).frame.collect().equals(TABLE)


def test_packed_files_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a\n1\n", mtime=0))
    assert as_frame(tmp_path / "t.csv").frame.collect().rows() == [("1",)]


def test_types_follow_from_values_where_they_may(tmp_path: Path) -> None:
    def ids(names: Sequence[str]) -> list[str]:
        assert list(names) == ["id", "price"]
        return ["id"]

    (tmp_path / "t.csv").write_text("id;price\n007;2,5\n")
    assert as_frame(tmp_path / "t.csv", text=ids).frame.collect().rows() == [("007", 2.5)]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id,price\n007,2.5\n", mtime=0))
    assert as_frame(tmp_path / "t.csv.gz", text=ids).frame.collect().rows() == [("007", 2.5)]


class Stream:
    """A table of another library: no more than Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pa.table({"user": [1]}).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"user": [1]}),
        pl.LazyFrame({"user": [1]}),
        pa.table({"user": [1]}),
        pa.RecordBatch.from_pydict({"user": [1]}),
        Stream(),
        [{"user": 1}],
        ({"user": 1},),
    ],
    ids=lambda table: type(table).__name__,
)
def test_tables_in_memory(table: Any) -> None:
    found = as_frame(table)
    assert found.frame.collect().rows() == [(1,)]
    assert (found.name, found.locate(5)) == ("the table", ("", 5))


def test_tables_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"user": [1.0, None], "item": ["a", "b"]}, index=["x", "y"])
    found = as_frame(table).frame
    assert found.collect().columns == ["user", "item"]
    assert found.select(id_text(found, "user")).collect()["user"].to_list() == [1, None]


def test_ids_lose_their_blanks_and_keep_their_fractions() -> None:
    frame = pl.LazyFrame({"a": [" x ", "  ", None], "b": [1.5, 2.0, None], "c": [1, 2, 3]})
    found = frame.select(id_text(frame, name) for name in "abc").collect()
    assert found["a"].to_list() == ["x", "  ", None]
    assert found["b"].to_list() == [1.5, 2.0, None]
    assert found["c"].to_list() == [1, 2, 3]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (3, "int is no table.*list of dicts"),
        ([1, 2], "list is no table"),
        ([{"a": 1}, {"a": [object()]}], "list makes no table"),
    ],
)
def test_what_is_no_table_is_refused(table: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        as_frame(table)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.xlsx", b"PK\x03\x04...", "spreadsheet or a zip archive.*as CSV"),
        ("t.csv", b"PK\x03\x04...", "spreadsheet or a zip archive"),
        ("t.xls", b"\xd0\xcf\x11\xe0", "spreadsheet"),
        ("t.avro", b"Obj", r"tables end in \.parquet.*not in \.avro"),
        ("t", b"a,b", "not in nothing"),
        ("t.parquet.gz", gzip.compress(b"a,b", mtime=0), "not a Parquet file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((SchemaError, FileUnreadableError), match=words) as caught:
        as_frame(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_packed_files_are_bounded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000_000))
    with pytest.raises(FileUnreadableError, match=r"unpacks to more than 0\.00 GB.*bomb\.csv\.gz"):
        as_frame(bomb, bounds=ReadBounds(memory=1 << 20))
    for data in (gzip.compress(b"a\n1\n", mtime=0)[:-6], b"\x1f\x8bnothing"):
        bomb.write_bytes(data)
        with pytest.raises(FileUnreadableError, match=r"gzip file is damaged.*bomb\.csv\.gz"):
            as_frame(bomb)
    bomb.write_bytes(gzip.compress(b"a,b\n1,2\n3\n", mtime=0))
    with pytest.raises(FileUnreadableError, match="line 3 has 1 fields") as caught:
        as_frame(bomb)
    assert caught.value.file == str(bomb)
    assert "scratch" not in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []
