"""Records go into a table and come back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.creative.records.verbal.ads_table import read_ads
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.records.verbal.records_table import (
    RECORDS,
    open_records,
    records_of,
    records_table,
    save_records,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
tuples = st.lists(texts, max_size=2).map(tuple)
lengths = st.none() | st.floats(0, 1e300)
levels = st.sampled_from(["", "low", "medium", "high"])
scenes = st.builds(
    Scene,
    caption=texts,
    foreground=tuples,
    background=tuples,
    tone=texts,
    style=texts,
    complexity=levels,
    emotions=tuples,
    faces=st.none() | st.integers(0, 2**63 - 1),
    tags=tuples,
    words=tuples,
    start=lengths,
    seconds=lengths,
)
records = st.builds(
    AdRecord,
    kind=st.sampled_from(["text", "image", "video"]),
    brand=texts,
    title=texts,
    words=texts,
    speech=texts,
    seconds=lengths,
    orientation=st.sampled_from(["", "landscape", "portrait", "square"]),
    pace=levels,
    motion=levels,
    scenes=st.lists(scenes, max_size=2).map(tuple),
    absent=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, max_size=3))
def test_any_records_come_back(ads: list[AdRecord]) -> None:
    table = records_table(ads)
    assert table.schema == RECORDS
    assert records_of(table) == records_of(pl.from_arrow(table)) == tuple(ads)


def test_they_are_kept_whole(tmp_path: Path, shared_data: Path) -> None:
    ads = read_ads(shared_data / "lambda/ads.jsonl").records
    path = tmp_path / "ads.parquet"
    save_records(path, ads)
    assert open_records(path) == ads
    save_records(path, ads[:1])
    assert open_records(path) == ads[:1]
    save_records(path, [])
    assert open_records(path) == ()
    assert [each.name for each in tmp_path.iterdir()] == ["ads.parquet"]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileUnreadableError):
        open_records(path)
    with pytest.raises(SchemaError, match="CSV cannot hold lists"):
        save_records(tmp_path / "ads.csv", ads)


def test_json_lines_of_a_hand(tmp_path: Path) -> None:
    path = tmp_path / "ads.jsonl"
    rows: list[dict[str, object]] = [
        {"title": "Bread", "score": 3},
        {
            "kind": "image",
            "title": None,
            "scenes": [{"caption": "a loaf", "faces": 1, "mood": "calm"}],
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert open_records(path) == (
        AdRecord(title="Bread"),
        AdRecord(kind="image", scenes=(Scene(caption="a loaf", faces=1),)),
    )
    assert records_of(rows) == open_records(path)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"kind": "audio"}, "kind"),
        ({"seconds": -1.0}, "seconds"),
        ({"scenes": [{"faces": -1}]}, "faces"),
        ({"scenes": [{"complexity": "huge"}]}, "complexity"),
    ],
)
def test_a_row_is_refused_by_its_place(cells: dict[str, Any], column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        records_of([{"title": "Bread"}, cells], file="ads.parquet")
    error = caught.value
    assert (error.file, error.row, error.column) == ("ads.parquet", 1, column)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"user": 1}, "no column of the table is a part of a record"),
        ({"seconds": "long"}, "seconds must be Float64, not String"),
        ({"scenes": "a loaf"}, "scenes must be List"),
        ({"scenes": [{"mood": "calm"}]}, "scenes must be List"),
        ({"scenes": [{"faces": "two"}]}, "scenes must be List"),
        ({"title": [1]}, "title must be String, not List"),
    ],
)
def test_a_table_of_another_form(cells: dict[str, Any], what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        records_of([cells])


def test_what_no_table_holds() -> None:
    bad = [AdRecord(), AdRecord(title="a\ud800")]
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table(bad)
    assert (caught.value.row, caught.value.column) == (1, "title")
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table([AdRecord(scenes=(Scene(faces=2**70),))])
    assert caught.value.column == "scenes"


def test_a_scene_that_is_null_is_an_empty_one() -> None:
    table = pa.table({"scenes": pa.array([[None], None, []], RECORDS.field("scenes").type)})
    assert records_of(table) == (AdRecord(scenes=(Scene(),)), AdRecord(), AdRecord())
