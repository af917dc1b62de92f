from __future__ import annotations

import pytest

from adwright.authoring.writer.products import format_of, name_columns, shop_formats
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.table_door import bare_name


def names_of(text: str) -> list[str]:
    return text.split("|")


OLD_SHOPIFY = names_of(
    "Handle|Title|Body (HTML)|Vendor|Product Category|Type|Tags|Published|Option1 Name|"
    "Option1 Value|Variant SKU|Variant Price|SEO Title|SEO Description|Status"
)
NEW_SHOPIFY = names_of(
    "Title|URL handle|Description|Vendor|Product category|Type|Tags|Published on online store|"
    "Status|SKU|Option1 name|Option1 value|Price|SEO title|SEO description"
)
WOO = names_of(
    "ID|Type|SKU|Name|Published|Is featured?|Visibility in catalog|Short description|Description|"
    "In stock?|Regular price|Categories|Tags|Attribute 1 name|Attribute 1 value(s)|Brands"
)
GOOGLE = names_of(
    "id|title|description|link|image link|availability|price|brand|gtin|"
    "google product category|color|size"
)


@pytest.mark.parametrize(
    ("names", "shop"),
    [
        (OLD_SHOPIFY, "shopify"),
        (NEW_SHOPIFY, "shopify"),
        (WOO, "woocommerce"),
        (GOOGLE, "google-feed"),
        (["id", "title", "price"], "table"),
    ],
)
def test_the_columns_tell_the_shop(names: list[str], shop: str) -> None:
    assert format_of(names).name == shop
    found = name_columns(names, format_of(names))
    assert set(found.fields.values()) <= set(names)


def test_each_shop_has_its_columns() -> None:
    old = name_columns(OLD_SHOPIFY, format_of(OLD_SHOPIFY))
    assert old.fields["description"] == "Body (HTML)"
    assert old.pairs == (("Option1 Name", "Option1 Value"),)
    assert old.texts["meta_description"] == "SEO Description"
    new = name_columns(NEW_SHOPIFY, format_of(NEW_SHOPIFY))
    assert (new.fields["id"], new.fields["price"]) == ("URL handle", "Price")
    assert new.texts["description"] == "Description"
    woo = name_columns(WOO, format_of(WOO))
    assert (woo.fields["id"], woo.fields["brand"]) == ("ID", "Brands")
    assert woo.pairs == (("Attribute 1 name", "Attribute 1 value(s)"),)
    google = name_columns(GOOGLE, format_of(GOOGLE))
    assert google.fields["category"] == "google product category"
    assert google.attributes == ("color", "size")


def test_what_is_given_wins() -> None:
    names = ["sku", "Naam", "merk", "kleur"]
    table = format_of(names, "table")
    found = name_columns(
        names, table, given={"title": "naam", "brand": "merk"}, attributes=("kleur",)
    )
    assert found.fields == {"id": "sku", "title": "Naam", "brand": "merk"}
    assert found.attributes == ("kleur",)
    assert found.used == ("Naam", "merk", "sku", "kleur")
    assert found.texts["title"] == "Naam"


def test_what_is_missing_is_named() -> None:
    table = format_of(["x"], "table")
    with pytest.raises(SchemaError, match=r"missing: id.*--columns id=skunr"):
        name_columns(["titles", "skunr"], table, given={"title": "titles"}, file="a.csv")
    with pytest.raises(SchemaError, match="is it 'title'"):
        name_columns(["id", "title"], table, given={"title": "titel"})
    with pytest.raises(SchemaError, match="no column 'size'"):
        name_columns(["id", "title"], table, attributes=("size",))
    with pytest.raises(ConfigError, match="no column 'colour'"):
        name_columns(["id", "title"], table, given={"colour": "id"})
    with pytest.raises(ConfigError, match="no format"):
        format_of(["id"], "ebay")  # type: ignore[arg-type]


def test_signs_are_bare_names() -> None:
    signs = [sign for one in shop_formats().values() for sign in one.spec.signs]
    assert [sign for sign in signs if bare_name(sign) != sign] == []
