from __future__ import annotations

import json

import pytest

from adwright.audit.catalogue import ShopListing
from adwright.core.errors import ConfigError


@pytest.fixture
def kettle() -> ShopListing:
    return ShopListing(
        "Kettle",
        {"Price": "$19", "Rating": 4.1, "New": True, "Stock": None},
        {"Ideal For": "tea"},
        fields=("Ideal For", "Name", "Price", "Rating", "New", "Stock"),
    )


def test_a_listing_is_shown_as_one_line_of_json_in_the_order_of_its_source(
    kettle: ShopListing,
) -> None:
    told = '{"Ideal For": "tea", "Name": "Kettle", "Price": "$19", "Rating": 4.1, "New": true, '
    assert kettle.shown() == told + '"Stock": null}'


def test_without_an_order_the_name_comes_first() -> None:
    shown = ShopListing("Kettle", {"Price": 3}, {"Text": "é\n"}, name_field="Title").shown()
    assert shown == '{"Title": "Kettle", "Price": 3, "Text": "é\\n"}'


def test_a_seller_writes_texts_alone(kettle: ShopListing) -> None:
    changed = kettle.with_text("Ideal For", 'all of us "}')
    assert json.loads(changed.shown())["Ideal For"] == 'all of us "}'
    assert (changed.fields, changed.attributes) == (kettle.fields, kettle.attributes)
    assert kettle.texts == {"Ideal For": "tea"}
    for field in ("Price", "Name", "nothing"):
        with pytest.raises(ConfigError, match="no text of the listing"):
            kettle.with_text(field, "cheap")


def test_an_attribute_can_count_as_text(kettle: ShopListing) -> None:
    moved = kettle.as_text("Rating")
    assert moved.texts == {"Ideal For": "tea", "Rating": "4.1"}
    assert "Rating" not in moved.attributes
    assert moved.text_fields == ("Ideal For", "Rating")
    assert kettle.as_text("Stock").texts["Stock"] == ""
    with pytest.raises(ConfigError, match="no attribute"):
        kettle.as_text("Ideal For")


def test_without_texts_only_facts_are_left(kettle: ShopListing) -> None:
    assert json.loads(kettle.without_texts().shown())["Ideal For"] == ""


@pytest.mark.parametrize(
    ("attributes", "texts", "fields", "what"),
    [
        ({"Price": 1}, {"Price": "1"}, (), "more than one"),
        ({"Name": "x"}, {}, (), "more than one"),
        ({"Price": 1}, {}, ("Name",), "each once"),
        ({"Price": 1}, {}, ("Name", "Price", "Size"), "each once"),
    ],
)
def test_fields_are_one_thing_each(
    attributes: dict[str, float | str], texts: dict[str, str], fields: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        ShopListing("Kettle", attributes, texts, fields=fields)


def test_the_digest_and_the_hash_tell_listings_apart(kettle: ShopListing) -> None:
    other = kettle.with_text("Ideal For", "coffee")
    assert len({kettle.digest(), other.digest()}) == len({kettle, other}) == 2
    assert hash(kettle) == hash(other.with_text("Ideal For", "tea"))
    assert kettle.digest() != ShopListing("Kettle", merchant="m").digest()
    assert len(kettle.with_text("Ideal For", "\ud800").digest()) == 64
