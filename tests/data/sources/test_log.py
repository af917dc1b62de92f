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
)

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
    ITEMS[:1].write_csv(tmp_path / "items.csv")
    with pytest.raises(ValueInvalidError, match=r"e\.parquet, row 1, column item_id, value 'y'"):
        read_log(tmp_path / "e.parquet", items=tmp_path / "items.csv")


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


def test_a_log_is_shown_in_a_line_and_by_its_first_events() -> None:
    log = made()
    n = log.catalogue.items.height
    assert repr(log).startswith(f"<Log of {n} items, of which is known: ")
    html = log._repr_html_()
    assert f"<p>Log of {n} items" in html
    assert "<table" in html
    assert log.events.head(1).collect()["event_id"][0] in html
