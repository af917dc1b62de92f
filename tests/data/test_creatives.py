"""A creative is what it says and shows: its id follows from that, and an edit is another one."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.core.hashing import sha256_bytes
from adwright.data.creatives import (
    CREATIVES,
    SLOTS,
    Creative,
    catalogue_rows,
    creatives_table,
    from_table,
)
from adwright.data.schema import CREATIVE_SCHEMA
from adwright.data.sources.tables import read_creatives, write_creatives

IMAGE = sha256_bytes(b"a picture")
BREAD = Creative(headline="Bread", body="Baked at six.", brand="Mill", image_hash=IMAGE)


def test_the_id_is_that_of_the_content() -> None:
    again = Creative(headline="Bread", body="Baked at six.", brand="Mill", image_hash=IMAGE)
    assert again.creative_id == BREAD.creative_id
    assert len(BREAD.creative_id) == 32
    for slot in SLOTS:
        assert Creative(**{slot: "another"}).creative_id != Creative().creative_id
    # Words in another slot are another ad.
    assert Creative(headline="x").creative_id != Creative(body="x").creative_id
    for name, value in (("item_id", "i"), ("maker", "m"), ("image_hash", IMAGE)):
        assert Creative(**{name: value}).creative_id != Creative().creative_id
    assert Creative(campaign_id="c", checks_passed=("spelling",)).creative_id == (
        Creative().creative_id
    )
    assert Creative(creative_id="mine").creative_id == "mine"


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        BREAD.headline = "Rolls"  # type: ignore[misc]


def test_an_edit_is_a_new_creative_with_its_parent() -> None:
    old = replace(BREAD, checks_passed=("claims",), item_id="i1", campaign_id="c1")
    new = old.edited("a shorter body", {"body": "At six"}, maker="m1")
    assert (new.parent, new.edit, new.maker) == (old.creative_id, "a shorter body", "m1")
    assert (new.headline, new.body, new.image_hash) == ("Bread", "At six", IMAGE)
    assert (new.item_id, new.campaign_id, new.checks_passed) == ("i1", "c1", ())
    assert new.creative_id != old.creative_id
    assert old.edited("no picture", {"image_hash": ""}).image_hash == ""
    for slot in SLOTS:
        assert getattr(old.edited("words", {slot: "other"}), slot) == "other"
    # Back to the same words: what is shown is as before, where it comes from is not.
    assert new.edited("as it was", {"body": "Baked at six."}).creative_id != old.creative_id


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (lambda: Creative(creative_id="nan"), "creative_id"),
        (lambda: Creative(item_id=" "), "item_id"),
        (lambda: Creative(parent="a\nb"), "parent"),
        (lambda: Creative(campaign_id="x" * 501), "campaign_id"),
        (lambda: Creative(image_hash="d41d8cd98f00b204e9800998ecf8427e"), "image_hash"),
        (lambda: Creative(edit="shorter"), "edit"),
        (lambda: Creative(body="\ud800"), "body"),
        (lambda: BREAD.edited("nothing", {}), "edit"),
        (lambda: BREAD.edited("colour", {"state": "live"}), "state"),
        (lambda: BREAD.edited("same", {"headline": "Bread"}), "edit"),
        (lambda: BREAD.edited(" ", {"body": "x"}), "edit"),
    ],
)
def test_what_is_none_is_refused(make: object, column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.column == column
    assert caught.value.hint


def test_one_id_names_one_creative() -> None:
    assert creatives_table([BREAD, BREAD]).num_rows == 1
    with pytest.raises(ValueInvalidError, match="two creatives have one id"):
        creatives_table([BREAD, replace(BREAD, body="other", creative_id=BREAD.creative_id)])
    with pytest.raises(ValueInvalidError, match="unique"):
        from_table(pl.DataFrame({"creative_id": ["a", "a"]}))


@pytest.mark.parametrize(
    ("columns", "error", "part"),
    [
        ({"headline": ["x"]}, SchemaError, "creative_id"),
        ({"creative_id": ["a"], "heading": ["x"]}, SchemaError, "headline"),
        ({"creative_id": ["a"], "body": [1]}, SchemaError, "text"),
        ({"creative_id": ["a"], "checks_passed": ["x"]}, SchemaError, "list"),
        ({"creative_id": ["a", None]}, ValueInvalidError, "row 1"),
        ({"creative_id": ["a"], "state": ["sold"]}, ValueInvalidError, "sold"),
        ({"creative_id": ["a", "b"], "image_hash": [None, "f00"]}, ValueInvalidError, "row 1"),
    ],
)
def test_other_tables_are_refused(
    columns: dict[str, list[object]], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        from_table(pl.DataFrame(columns), file="c.parquet")


def test_the_schema_extends_that_of_the_catalogue() -> None:
    shared = set(CREATIVES.names) & set(CREATIVE_SCHEMA.names)
    assert shared == {"creative_id", "item_id", "campaign_id", "image_hash"}
    assert all(CREATIVES.field(name).type == CREATIVE_SCHEMA.field(name).type for name in shared)
    assert isinstance(creatives_table([BREAD]), pa.Table)


def test_tables_of_earlier_releases_are_read() -> None:
    old = pl.DataFrame({"creative_id": ["a"], "headline": ["Bread"], "model_id": ["smollm2"]})
    (one,) = from_table(old)
    assert (one.maker, one.state, one.landing) == ("smollm2", "", "")
    # Ids are what they were: a hash of the content under the names that it had.
    assert Creative(headline="Bread", maker="m").creative_id == "fef7dd7c6c4d8fec64b9e76a613112bf"


@pytest.mark.parametrize("name", ["ads.parquet", "ads.csv"])
def test_a_catalogue_takes_written_creatives(tmp_path: Path, name: str) -> None:
    sold = replace(BREAD, item_id="i1", creative_id="c1", state="approved")
    write_creatives(tmp_path / name, [sold, BREAD])
    found = read_creatives(tmp_path / name)
    assert found.to_dicts() == catalogue_rows([sold]).to_dicts()
    assert found["text"].to_list() == ["Bread\nBaked at six.\nMill"]
