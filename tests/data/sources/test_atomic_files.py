"""Atomic files survive a round trip, take what RecBole users have, and are refused by name."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.schema import KINDS, empty_events
from adwright.data.sources.atomic_files import read_atomic, write_atomic

_characters = st.characters(codec="utf-8", exclude_characters="\t\n\r")
_text = st.text(_characters, min_size=1, max_size=6)
_ids = _text.filter(lambda text: text.strip() and text not in ("nan", "NaN", "None", "<NA>"))
_word = st.text(string.ascii_letters + "é'\",", min_size=1, max_size=4)
_number = st.floats(allow_nan=False, allow_infinity=False)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy)


_event = st.fixed_dictionaries(
    {
        "time": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        "request_id": _ids,
        "user_id": _ids,
        "kind": st.sampled_from(KINDS),
        "item_id": _ids,
        "creative_id": maybe(_ids),
        "campaign_id": maybe(_ids),
        "position": maybe(st.integers(0, 2**31 - 1)),
        "propensity": maybe(st.floats(0, 1, exclude_min=True)),
        "policy_id": maybe(_ids),
        "value": maybe(_number),
        "context": maybe(st.dictionaries(_text, _text, max_size=2).map(json.dumps)),
    }
)
_features = st.fixed_dictionaries(
    {
        "brand": maybe(_text),
        "price": maybe(_number),
        "tags": st.lists(_word, max_size=3),
        "vector": st.lists(_number, max_size=3),
    }
)
_FEATURES = {
    "brand": pl.String,
    "price": pl.Float64,
    "tags": pl.List(pl.String),
    "vector": pl.List(pl.Float64),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_event, max_size=4),
    features=st.lists(_features, max_size=3),
    people=st.dictionaries(_ids, maybe(_text), max_size=3),
)
def test_round_trip(
    tmp_path: Path,
    rows: list[dict[str, object]],
    features: list[dict[str, object]],
    people: dict[str, object],
) -> None:
    schema = empty_events().schema
    events = pl.DataFrame([{"event_id": f"x{i}", **r} for i, r in enumerate(rows)], schema=schema)
    items = pl.DataFrame(
        [{"item_id": f"i{i}", **f} for i, f in enumerate(features)],
        schema={"item_id": pl.String, **_FEATURES},
    )
    users = pl.DataFrame({"user_id": list(people), "name": list(people.values())}).cast(pl.String)
    write_atomic(tmp_path, "set", events.lazy(), items, users)
    back = read_atomic(tmp_path, "set")
    assert back.events.collect().equals(events)
    assert back.items.equals(items)
    assert back.users.equals(users)


def _write(folder: Path, **files: str) -> Path:
    for ending, content in files.items():
        (folder / f"set.{ending}").write_text(content, encoding="utf-8")
    return folder


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_a_file_as_recbole_users_have_it(tmp_path: Path) -> None:
    _write(
        tmp_path,
        inter=INTER + "u1\ti1\t4\t881250949\nu2\ti2\t\t881250949.5\n",
        item='item_id:token\ttitle:token_seq\tprice:float\temb:float_seq\ni1\tA "b\t\t1 2.5\n',
    )
    events, items, users = read_atomic(tmp_path, "set")
    log = events.collect()
    assert log["event_id"].to_list() == ["e0", "e1"]
    assert log["request_id"].to_list() == ["u1-881250949", "u2-881250949.5"]
    assert log["kind"].to_list() == ["rating", "rating"]
    assert log["value"].to_list() == [4.0, None]
    assert log["time"][1] == datetime.fromtimestamp(881250949.5, UTC)
    assert items.rows() == [("i1", ["A", '"b'], None, [1.0, 2.5])]
    assert users.rows() == [("u1",), ("u2",)]  # no file, so the ids of the log


def test_clicks_and_further_columns(tmp_path: Path) -> None:
    header = (
        "user_id:token\titem_id:token\ttimestamp:float\tdevice:token\tage:float\ttags:token_seq\n"
    )
    _write(tmp_path, inter=header + "u\ti\t0\tphone\t3\ta b\nu\tj\t0\t\t\t\n")
    log = read_atomic(tmp_path, "set").events.collect()
    assert log["kind"].to_list() == ["click", "click"]
    assert [json.loads(text) for text in log["context"]] == [
        {"device": "phone", "age": 3.0, "tags": ["a", "b"]},
        {"device": None, "age": None, "tags": []},
    ]
    assert log["request_id"].n_unique() == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"no such file .*set\.inter"),
        ({"inter": ""}, r"file is empty .*set\.inter"),
        ({"inter": "u\ti\t3\n"}, r"header is missing"),
        ({"inter": "user_id:token\titem_id:token\nu\ti\n"}, r"needed column timestamp is missing"),
        ({"inter": INTER.replace("rating:float", "rating")}, r"no known type .*column rating"),
        ({"inter": INTER.replace("rating:float", "rating:int")}, r"no known type .*rating:int"),
        ({"inter": INTER.replace("rating", "item_id")}, r"two header fields share a name"),
        ({"inter": INTER + "u\ti\tgood\t0\n"}, r"rating cannot be read as a number.*'good'"),
        ({"inter": INTER + "u\ti\t1\t12:00 h\n"}, r"timestamp cannot be read .*row 0"),
        ({"inter": INTER + "u\ti\t1\t\n"}, r"timestamp must not be empty"),
        ({"inter": INTER + "u\t\t1\t0\n"}, r"item_id must not be empty"),
        ({"inter": INTER + "u\ti\t1\n"}, r"line 2 has 3 fields where the header has 4"),
        ({"inter": INTER, "item": "title:token\nx\n"}, r"header is missing.*set\.item"),
        ({"inter": INTER, "item": "item_id:token\ti:float\na\tx\n"}, r"set\.item, row 0, column i"),
        ({"inter": INTER, "item": "item_id:token\tv:float_seq\na\t1 x\n"}, r"column v, .*'1 x'"),
        ({"inter": INTER, "user": "user_id:token\na\na\n"}, r"user_id must be unique.*set\.user"),
        (
            {"inter": INTER.replace("rating:float", "context:token\tx:token") + "u\ti\t{}\t1\t0\n"},
            r"columns beside a context .*: x",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises((FileUnreadableError, SchemaError, ValueInvalidError), match=words):
        read_atomic(_write(tmp_path, **files), "set")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (
            {"item_id": ["a", "b"], "note": ["x", "y\tz"]},
            r"tab or a line break.*row 1, column note",
        ),
        ({"item_id": ["a\n"]}, r"tab or a line break.*column item_id"),
        ({"item_id": ["a"], "tags": [["x y"]]}, r"blank or nothing inside a list.*column tags"),
        ({"item_id": ["a"], "tags": [["x", ""]]}, r"blank or nothing inside a list"),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(
    tmp_path: Path, items: dict[str, list[object]], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        write_atomic(tmp_path, "set", empty_events(), pl.DataFrame(items))
    assert list(tmp_path.iterdir()) == []


def test_other_types_come_back_as_floats(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": [1], "count": [3], "new": [True]})
    write_atomic(tmp_path, "set", empty_events(), items)
    assert read_atomic(tmp_path, "set").items.rows() == [("1", 3.0, 1.0)]
    assert not (tmp_path / "set.user").exists()
