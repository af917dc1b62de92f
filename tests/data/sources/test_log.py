from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import (
    Log,
    LogFormat,
    describe,
    open_log,
    read_atomic_log,
    read_log,
    save_log,
    summarise,
    with_column_kinds,
)
from adwright.data.sources.mapping import LogMapping

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


def test_description_counts() -> None:
    found = describe(made())
    assert (found.events, found.users, found.items) == (4, 2, 3)
    assert (found.first, found.last) == (TIMES[0], TIMES[-1])
    assert found.kinds == {"impression": 1, "click": 1, "purchase": 1, "redemption": 1}
    assert found.history["shortest"] == 1
    assert found.history["longest"] == 3
    assert found.catalogue == {"items": 3, "creatives": 0, "campaigns": 1, "users": 2}
    assert found.features == ("type", "price")


def test_an_empty_log_is_described(tmp_path: Path) -> None:
    log = Log(EVENTS[:0].lazy(), Catalogue.checked(ITEMS))
    found = describe(log)
    assert (found.events, found.first, found.kinds) == (0, None, {})


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


def test_tables_in_memory_are_logs() -> None:
    rows = [
        {"user": "a", "item": "x", "time": 5, "store": 1},
        {"user": "b", "item": "y", "time": 6},
    ]
    found = open_log(rows, mapping=LogMapping(context=("store",), column_kinds={"store": "number"}))
    assert found.events.collect()["item_id"].to_list() == ["x", "y"]
    assert (found.context, found.column_kinds) == (("store",), {"store": "number"})
    with pytest.raises(ConfigError, match=r"no column of this name .*colour"):
        open_log(rows, mapping=LogMapping(column_kinds={"colour": "number"}))


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


def test_a_log_of_nothing_can_be_described() -> None:
    nothing = Log(EVENTS.clear().lazy(), Catalogue.checked(ITEMS.clear()))
    found = describe(nothing)
    assert (found.events, found.first, found.kinds) == (0, None, {})
    assert set(found.history.values()) == {0.0}
    assert "users" not in found.catalogue


def test_a_log_without_items_gets_the_ids_it_shows(tmp_path: Path) -> None:
    EVENTS.write_parquet(tmp_path / "events.parquet")
    found = read_log(tmp_path / "events.parquet")
    # A coupon is no item.
    assert found.catalogue.items["item_id"].to_list() == ["x", "y"]
    assert found.users is None


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
