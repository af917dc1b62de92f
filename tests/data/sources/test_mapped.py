"""Any log becomes an EventLog, and what became of it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.schema import validate_events
from adwright.data.sources.frames import as_frame
from adwright.data.sources.mapped import (
    ImportNotes,
    LogMapping,
    MappedEvents,
    NamedColumns,
    id_column,
    map_events,
    name_columns,
)

SHOP = """customer_id;sku;date;price;event;store
 7 ;tea;31/01/2024 10:00;2,50;ORDER;north
7;jam;31/01/2024 10:00;3;view;
8;tea;01/02/2024 09:30;;glance;south
"""


def mapped(folder: Path, text: str, name: str = "log.csv", **settings: Any) -> MappedEvents:
    (folder / name).write_text(text)
    return map_events(as_frame(folder / name), LogMapping(**settings))


def test_a_shops_own_file(tmp_path: Path) -> None:
    found = mapped(
        tmp_path,
        SHOP,
        time_format="%d/%m/%Y %H:%M",
        time_zone="Europe/Paris",
        kinds={"Glance": "impression"},
        context=("store",),
    )
    events = found.events.collect()
    assert validate_events(events).equals(events)
    assert events.select("user_id", "item_id", "kind", "value", "context").rows() == [
        ("7", "tea", "purchase", 2.5, '{"store":"north"}'),
        ("7", "jam", "view", 3.0, '{"store":null}'),
        ("8", "tea", "impression", None, '{"store":"south"}'),
    ]
    assert events["time"][0] == datetime(2024, 1, 31, 9, tzinfo=UTC)
    # One visit of one person has one request.
    assert events["request_id"].to_list() == ["7-1706691600", "7-1706691600", "8-1706776200"]
    assert events["event_id"].n_unique() == 3
    assert found.notes.odd == ("customer_id: 1 ids have blanks around them, which are taken off",)
    assert "event 'order' is taken as purchase" in found.notes.said
    assert "date: times name no zone and are read as Europe/Paris" in found.notes.said
    assert found.mapping.columns["item_id"] == "sku"


def test_ids_that_are_made_stay_the_same(tmp_path: Path) -> None:
    one = mapped(tmp_path, "user,item,time\na,x,1\nb,y,2\n").events.collect()
    other = mapped(tmp_path, "user,item,time\nb,y,2\na,x,1\n").events.collect()
    assert one["event_id"].to_list() == other["event_id"].to_list()[::-1]


def test_three_columns_are_enough(tmp_path: Path) -> None:
    found = mapped(tmp_path, "user,item,time,colour\na,x,1,red\n")
    assert found.events.collect()["kind"].to_list() == ["purchase"]
    assert found.notes.columns_left == ("colour",)
    assert "no column says the kind: every event is a purchase (--kind)" in found.notes.said
    said = mapped(tmp_path, "user,item,time\na,x,1\n", kind="click")
    assert said.events.collect()["kind"].to_list() == ["click"]
    assert not any("no column says" in one for one in said.notes.said)


def test_our_own_columns_pass_as_they_are() -> None:
    events = validate_events(
        pl.DataFrame(
            {
                "event_id": ["e1", "e2"],
                "time": [datetime(2024, 1, 1, tzinfo=UTC)] * 2,
                "request_id": ["r", "r"],
                "user_id": ["u", "u"],
                "kind": ["impression", "click"],
                "item_id": ["i", "i"],
                "position": [1, None],
                "context": ['{"a": 1}', None],
            }
        )
    )
    found = map_events(as_frame(events))
    assert found.events.collect().equals(events)
    assert found.notes == ImportNotes()


def test_ratings(tmp_path: Path) -> None:
    text = "userId,movieId,rating,timestamp\n1,a,5,1\n1,b,3.5,2\n2,a,4,3\n"
    found = mapped(tmp_path, text)
    assert found.events.collect().select("kind", "value").rows() == [
        ("rating", 5),
        ("rating", 3.5),
        ("rating", 4),
    ]
    kept = mapped(tmp_path, text, min_rating=4)
    assert kept.events.collect()["item_id"].to_list() == ["a", "a"]
    assert kept.notes.left_out == {"with a rating below 4": 1}


def test_rows_that_are_told_twice(tmp_path: Path) -> None:
    text = "user,item,time\na,x,1\na,x,1\na,x,1\nb,y,2\n"
    kept = mapped(tmp_path, text)
    ids = kept.events.collect()["event_id"].to_list()
    assert [one.removeprefix(ids[0]) for one in ids[:3]] == ["", "-1", "-2"]
    assert kept.notes.odd[0].startswith("2 rows equal an earlier one in all columns")
    dropped = mapped(tmp_path, text, drop_repeated=True)
    assert dropped.events.collect()["event_id"].to_list() == [ids[0], ids[3]]
    assert dropped.notes.left_out == {"equal to an earlier row": 2}
    text = "event_id,user,item,time\ne,a,x,1\ne,a,y,1\n"
    with pytest.raises(ValueInvalidError, match=r"event_id must be unique.*row 1.*--drop-repeated"):
        mapped(tmp_path, text)
    dropped = mapped(tmp_path, text, drop_repeated=True)
    assert dropped.events.collect()["item_id"].to_list() == ["x"]
    assert dropped.notes.left_out == {"whose event came before": 1}


def test_rows_that_lack_something(tmp_path: Path) -> None:
    text = "user,item,time\n,x,1\na,x,2\na, ,3\na,y,\nb,z,soon\n"
    with pytest.raises(ValueInvalidError, match=r"row 4, column time, value 'soon'"):
        mapped(tmp_path, text)
    # Rows are counted as they stand in the file.
    with pytest.raises(ValueInvalidError, match=r"row 4, column time, value 'soon'"):
        mapped(tmp_path, text, drop_incomplete=True)
    text = text.replace("soon", "5")
    with pytest.raises(ValueInvalidError, match=r"row 0, column user_id"):
        mapped(tmp_path, text)
    found = mapped(tmp_path, text, drop_incomplete=True)
    assert found.events.collect()["item_id"].to_list() == ["x", "z"]
    assert found.notes.left_out == {"without a user, an item or a time": 3}


def test_kinds_that_are_not_known(tmp_path: Path) -> None:
    text = "user,item,time,behaviour\na,x,1,1\na,y,2,Add-To-Cart\na,z,3,4\n"
    with pytest.raises(ValueInvalidError, match=r"row 0.*--kinds 1=purchase.*unknown are '1', '4'"):
        mapped(tmp_path, text)
    found = mapped(tmp_path, text, kinds={"1": "view", "4": "none"})
    assert found.events.collect()["kind"].to_list() == ["view", "cart"]
    assert found.notes.left_out == {"of kinds that are not wanted": 1}


def test_visits_without_a_basket_get_one(tmp_path: Path) -> None:
    text = "visitorid,itemid,timestamp,event,transactionid\n1,x,5,view,\n1,y,6,transaction,t7\n"
    found = mapped(tmp_path, text)
    assert found.events.collect()["request_id"].to_list() == ["1-5", "t7"]
    assert any("transactionid is empty in 1 rows" in one for one in found.notes.said)


def test_objects_become_the_context(tmp_path: Path) -> None:
    text = (
        '{"user": 1, "item": 2, "time": 3, "context": {"store": 4}, "n": 1.5, "day": "mon"}\n'
        '{"user": 1, "item": 3, "time": 3}\n'
    )
    found = mapped(tmp_path, text, "log.jsonl").events.collect()
    assert found["context"].to_list() == ['{"store":4}', None]
    renamed = text.replace("context", "other")
    made = mapped(tmp_path, renamed, "log.jsonl", context=("n", "day")).events.collect()
    assert made["context"].to_list() == ['{"n":1.5,"day":"mon"}', '{"n":null,"day":null}']
    with pytest.raises(ConfigError, match="has a context already"):
        mapped(tmp_path, text, "log.jsonl", context=("n",))


@pytest.mark.parametrize(
    ("text", "settings", "error", "words"),
    [
        ("user,item,time\n", {}, ValueInvalidError, r"holds no event .*log\.csv"),
        ("user,item,time\na,x,1\n", {"min_rating": 3}, ConfigError, "no ratings"),
        ("user,item,time\na,x,1\n", {"kinds": {"a": "click"}}, ConfigError, "no column of kinds"),
        ("user,item,time\na,x,1\n", {"column_kinds": {"value": "number"}}, ConfigError, "value"),
        ("user,item,time,price\na,x,1,2 €\n", {}, ValueInvalidError, r"row 0, column price"),
        ("user,item,time,rank\na,x,1,1.5\n", {}, ValueInvalidError, "row 0, column rank"),
        ("user,item\na,x\n", {}, SchemaError, "missing: time"),
        ("user,item,time,rating\na,x,1,2\n", {"min_rating": 3}, ValueInvalidError, "no event"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, text: str, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        mapped(tmp_path, text, **settings)


@pytest.mark.parametrize("column", ["user", "item", "event"])
@pytest.mark.parametrize("value", [[1], b"x", True, 1.5])
def test_ids_and_kinds_of_other_types_are_refused(column: str, value: object) -> None:
    rows = {"user": ["1"], "item": ["2"], "time": [3], "event": ["click"], column: [value]}
    with pytest.raises(SchemaError, match=r"must be text, not"):
        map_events(as_frame(pl.DataFrame(rows)))


def test_impressions_that_say_what_was_clicked(tmp_path: Path) -> None:
    text = "user,ad_id,time,clicked,x\n1,a,5,0,7\n1,b,5,1,7\n2,a,6,1,7\n"
    found = mapped(tmp_path, text)
    assert found.events.collect().select("user_id", "item_id", "kind").rows() == [
        ("1", "a", "impression"),
        ("1", "b", "impression"),
        ("2", "a", "impression"),
        ("1", "b", "click"),
        ("2", "a", "click"),
    ]
    assert validate_events(found.events.collect()).height == 5
    assert "every row is an impression, and a click too where clicked is 1" in found.notes.said
    assert found.notes.columns_left == ("x",)
    # A count of clicks is none, nor is what has only one value.
    for other in (text.replace(",1,7", ",2,7"), text.replace(",1,7", ",0,7")):
        assert set(mapped(tmp_path, other).events.collect()["kind"]) == {"purchase"}
    truth = text.replace("clicked", "taken").replace(",1,7", ",True,7").replace(",0,7", ",False,7")
    told = mapped(tmp_path, truth, clicked="taken")
    assert told.events.collect()["kind"].to_list().count("click") == 2
    with pytest.raises(ConfigError, match="cannot be of a kind"):
        mapped(tmp_path, text, clicked="clicked", kind="view")


BASKETS = "user,item,order_id,time,qty,price,refund\n"


@pytest.mark.parametrize(
    ("rows", "settings", "left", "said"),
    [
        # The latest earlier purchase, and not a later one or one of somebody else.
        (
            "a,x,1,1,2,3,\na,x,2,5,1,3,\nb,x,3,5,1,3,\na,x,4,7,-1,3,\na,x,5,9,1,3,\n",
            {},
            "135",
            "1 ret",
        ),
        # That of its order first; a part leaves the purchase until the rest is back.
        ("a,x,1,1,2,3,\na,x,2,5,2,3,\na,x,1,7,-2,3,\n", {}, "2", "1 took back a purchase, 0 had"),
        ("a,x,1,1,2,3,\na,x,2,7,-1,3,\n", {}, "1", "0 took back a purchase, 1 a part of one"),
        ("a,x,1,1,2,3,\na,x,2,7,-1,3,\na,x,3,8,-1,3,\nb,y,4,1,1,1,\n", {}, "4", "1 took"),
        ("a,x,1,7,-1,3,\na,x,2,8,1,3,\n", {}, "2", "0 took back a purchase, 1 had none"),
        # By the value, by the name of a column that is said, and by the kind.
        ("a,x,1,1,1,3,\na,x,2,7,1,-3,\nb,x,3,1,1,1,\n", {}, "3", "1 took"),
        (
            "a,x,1,1,1,3,2\na,x,2,7,1,3,-2\nb,x,3,1,1,1,\n",
            {"columns": {"quantity": "refund"}},
            "3",
            "1 t",
        ),
        (
            "a,x,1,1,1,3,buy\na,x,2,7,1,3,Refund\nb,x,3,1,1,1,buy\n",
            {"columns": {"kind": "refund"}},
            "3",
            "1 t",
        ),
    ],
)
def test_a_return_takes_back_its_purchase(
    tmp_path: Path, rows: str, settings: dict[str, Any], left: str, said: str
) -> None:
    found = mapped(tmp_path, BASKETS + rows, **settings)
    events = found.events.collect()
    assert "".join(events["request_id"]) == left
    assert set(events["kind"]) == {"purchase"}
    (told,) = [one for one in found.notes.said if "returns: " in one]
    assert said in told
    assert "quantity" not in events.columns


def test_what_is_odd_in_a_quantity_is_said(tmp_path: Path) -> None:
    found = mapped(tmp_path, "user,item,time,Menge\na,x,1,0\na,y,1,(2)\nb,x,2,-1\nb,y,2,1\n")
    assert found.notes.odd == (
        "Menge: 1 of 4 quantities are no numbers, so that none of these rows is taken as a return",
        "Menge: 1 purchases of 0 pieces are kept as such",
    )
    assert "1 returns: 0 took back a purchase, 1 had none and were left out" in found.notes.said
    # What was only looked at or rated is no return.
    text = "user,item,time,event,qty,rating\na,x,1,view,-1,-3\n"
    assert mapped(tmp_path, text).events.collect()["kind"].to_list() == ["view"]


@pytest.mark.parametrize(("drop", "rows"), [(True, "a"), (False, "abc")])
def test_what_is_dated_after_now_is_refused_or_left_out(
    tmp_path: Path, drop: bool, rows: str
) -> None:
    now = datetime(2024, 1, 2, tzinfo=UTC)
    lines = [
        f"{u},x,{t}"
        for u, t in zip("abc", ("2024-01-01", "2024-01-02T09:00:00", "2031-05-05"), strict=True)
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *lines]))
    table = as_frame(tmp_path / "log.csv")
    words = r"1 of 3 events \(33\.33%\) are dated after now, 2024-01-02 00:00 UTC, the latest 2031"
    with pytest.raises(ValueInvalidError, match=words + r".*row 2.*--drop-future.*--keep-future"):
        map_events(table, now=now)
    kept = map_events(table, LogMapping(drop_future=drop), now=now)
    assert "".join(kept.events.collect()["user_id"]) == rows
    # A clock or a zone that is hours ahead stops no import.
    assert (
        map_events(as_frame(pl.read_csv(tmp_path / "log.csv").head(2)), now=now)
        .events.collect()
        .height
        == 2
    )


def named(names: str, mapping: LogMapping | None = None, **more: Any) -> NamedColumns:
    return name_columns(names.split(), mapping or LogMapping(), lambda _: True, **more)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("user_id item_id time", "user_id item_id time"),
        ("visitorid itemid timestamp event transactionid", "visitorid itemid timestamp event"),
        ("userId movieId rating timestamp", "userId movieId timestamp"),
        ("t_dat customer_id article_id price", "customer_id article_id t_dat"),
        ("reviewerID asin overall unixReviewTime", "reviewerID asin unixReviewTime"),
        ("USER_ID ITEM_ID TIME", "USER_ID ITEM_ID TIME"),
        ("InvoiceNo StockCode InvoiceDate CustomerID", "CustomerID StockCode InvoiceDate"),
        ("userId Id rating timestamp", "userId Id timestamp"),
    ],
)
def test_public_logs_need_no_mapping(names: str, wanted: str) -> None:
    found = named(names).columns
    user, item, time, *kind = wanted.split()
    assert (found["user_id"], found["item_id"], found["time"]) == (user, item, time)
    assert [found.get("kind")] == (kind or [None])


def test_what_is_taken_and_left_is_said() -> None:
    found = named("customer_id sku date timestamp colour price")
    assert found.said == (
        "timestamp is taken as time (and not date)",
        "customer_id is taken as user_id",
        "sku is taken as item_id",
        "price is taken as value",
    )
    assert found.left == ("date", "colour")
    assert not found.rated
    assert named("user item time stars").rated
    # One of its own name is taken without a word, whatever else is there.
    assert named("user_id item_id time timestamp").said == ()


def test_what_a_person_says_wins() -> None:
    mapping = LogMapping(columns={"user_id": "Buyer", "item_id": "sku"}, context=("STORE",))
    found = named("user buyer item sku time store", mapping)
    assert (found.columns["user_id"], found.columns["item_id"]) == ("buyer", "sku")
    assert found.context == ("store",)
    assert found.left == ("user", "item")


@pytest.mark.parametrize(
    ("names", "mapping", "words"),
    [
        (
            "kunde item time",
            {},
            r"missing: user_id .*--columns user_id=THEIRS; the table has kunde",
        ),
        ("usrid item time", {}, "--columns user_id=usrid"),
        ("user item", {}, "missing: time"),
        (
            "user item time",
            {"columns": {"value": "pric"}},
            "no column 'pric', which is to be value",
        ),
        ("user item time", {"context": ("store",)}, "no column 'store'"),
    ],
)
def test_columns_that_are_not_there(names: str, mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        named(names, LogMapping(**mapping), file="f.csv")
    assert "f.csv" in str(caught.value)


def test_the_id_of_a_catalogue() -> None:
    assert id_column(["title", "item_id", "sku"], "item_id") == "item_id"
    assert id_column(["title", "SKU"], "item_id") == "SKU"
    assert id_column(["Id", "title"], "item_id") == "Id"
    assert id_column(["customer", "age"], "user_id") == "customer"
    assert id_column(["a", "item_id"], "item_id", "a") == "a"
    # What a mapping says of the log need not be in the catalogue.
    assert id_column(["sku"], "item_id", "stockcode") == "sku"
    with pytest.raises(SchemaError, match=r"missing: item_id .*items\.csv.*item_id=itm_id"):
        id_column(["itm_id", "x"], "item_id", file="items.csv")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"user": "x"}}, "no column 'user'.*the closest is user_id"),
        ({"kinds": {"order": "purchse"}}, "order cannot be 'purchse'.*closest is purchase"),
        ({"column_kinds": {"x": "colour"}}, "x cannot be 'colour'"),
        ({"time_format": "%Q"}, "no format of a time"),
        ({"time_zone": "Mars"}, "time zone 'Mars' is unknown"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LogMapping(**settings)


def test_a_mapping_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'time_format = "%d/%m/%Y"\ncontext = ["store"]\nmin_rating = 4\n'
        '[columns]\nuser_id = "kunde"\n[kinds]\nBestellung = "purchase"\nRest = "none"\n'
        '[column_kinds]\nyear = "number"\n'
    )
    found = load_toml(tmp_path / "m.toml", LogMapping)
    assert found == LogMapping(
        columns={"user_id": "kunde"},
        kinds={"Bestellung": "purchase", "Rest": "none"},
        time_format="%d/%m/%Y",
        context=("store",),
        min_rating=4,
        column_kinds={"year": "number"},
    )
    assert from_jsonable(LogMapping, to_jsonable(found)) == found
