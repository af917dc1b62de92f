from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.audit.catalogue import schema_of
from adwright.core.errors import ConfigError, SchemaError

TABLE = pl.DataFrame(
    {
        "Seller": ["m", "n"],
        "Title": ["Kettle", "Pot"],
        "Price": ["$1", "$2"],
        "Rating": [4.0, 4.5],
        "New": [True, None],
        "Colour": ["red", "blue and black"],
        "Blurb": ["It boils water in a very short time.", "A pot."],
        "Ideal For": ["tea", "soup"],
    }
)


def test_columns_are_guessed_and_said() -> None:
    found = schema_of(TABLE)
    assert found.name == "Title"
    assert found.merchant == "Seller"
    assert found.attributes == ("Price", "Rating", "New", "Colour")
    assert found.texts == ("Blurb", "Ideal For")
    assert set(found.guessed) == set(TABLE.columns)
    assert found.order == tuple(TABLE.columns[1:])


def test_in_doubt_a_column_is_a_text() -> None:
    long = pl.DataFrame({"name": ["a", "b"], "material": ["x " * 9] * 2, "origin": ["x " * 9] * 2})
    found = schema_of(long)
    assert (found.attributes, found.texts) == (("material",), ("origin",))
    lists = pl.DataFrame({"name": ["a", "b"], "tags": [["x"], ["y"]]})
    assert schema_of(lists).texts == ("tags",)


def test_what_is_given_is_taken() -> None:
    found = schema_of(TABLE, name="blurb", attributes=("price",), texts=("Colour",), merchant="New")
    assert (found.name, found.merchant) == ("Blurb", "New")
    assert (found.attributes, found.texts) == (("Price",), ("Colour",))
    assert found.order == ("Price", "Colour", "Blurb")
    assert found.guessed == ()


def test_where_one_kind_is_given_the_rest_is_the_other() -> None:
    facts = schema_of(TABLE, attributes=("Price",), merchant="Seller", name="Title")
    assert facts.texts == ("Rating", "New", "Colour", "Blurb", "Ideal For")
    texts = schema_of(TABLE, texts=(), merchant="Seller", name="Title")
    assert texts.attributes == ("Price", "Rating", "New", "Colour", "Blurb", "Ideal For")
    assert "Blurb" in texts.guessed


def test_mistakes_are_named() -> None:
    with pytest.raises(SchemaError, match=r"'Prise'.*Price"):
        schema_of(TABLE, attributes=("Prise",))
    with pytest.raises(SchemaError, match=r"missing: name.*--columns name="):
        schema_of(TABLE.select("Price", "Rating"))
    with pytest.raises(ConfigError, match="two roles"):
        schema_of(TABLE, attributes=("Price",), texts=("Price",))
    with pytest.raises(ConfigError, match="two roles"):
        schema_of(TABLE, attributes=("Title",))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("coffee_machines", ("Description", "Ideal For")),
        ("books", ("Description", "Ideal For")),
        ("cameras", ("Description", "Ideal For")),
        ("election_articles", ()),
    ],
)
def test_released_catalogues_are_guessed_right(
    shared_data: Path, name: str, texts: tuple[str, ...]
) -> None:
    frame = pl.read_ndjson(shared_data / "visibility" / f"{name}.jsonl")
    found = schema_of(frame)
    assert (found.name, found.texts) == ("Name", texts)
    assert found.order == tuple(frame.columns)
