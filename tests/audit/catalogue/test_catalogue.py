from __future__ import annotations

import dataclasses

import pytest

from adwright.audit.catalogue import CatalogueSchema, ShopCatalogue, ShopListing
from adwright.core.errors import ConfigError, ValueInvalidError
from tests.support.audit.shops import KETTLES, REQUEST, kettles


def test_names_and_rows() -> None:
    shop = kettles()
    assert (shop.names, len(shop)) == (KETTLES, 6)
    assert shop.index("Teapot") == 4
    with pytest.raises(ConfigError, match="no such product"):
        shop.index("teapot")


@pytest.mark.parametrize(
    ("names", "what"),
    [(("A",), "at least two"), (("A", " "), "no name"), (("A", "B", "A"), "one name")],
)
def test_products_that_no_list_could_tell_apart_are_refused(
    names: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ValueInvalidError, match=what):
        ShopCatalogue("shop", REQUEST, tuple(ShopListing(name) for name in names))


def test_a_shopper_asks_something() -> None:
    listings = (ShopListing("A"), ShopListing("B"))
    with pytest.raises(ConfigError, match="no request"):
        ShopCatalogue("shop", " ", listings)
    assert ShopCatalogue("shop", "A?", listings, wordings=("B?",)).requests == ("A?", "B?")


def test_attacks_need_a_catalogue_of_ones_own() -> None:
    kettles(own=True).require_own()
    with pytest.raises(ConfigError, match="not declared as your own"):
        kettles(own=False).require_own()


def test_rows_are_exchanged_and_chosen() -> None:
    shop = kettles()
    other = shop.listings[1].with_text("Ideal For", "everyone")
    changed = shop.with_listing(1, other)
    assert changed.listings == (shop.listings[0], other, *shop.listings[2:])
    assert shop.only((3, 1)).names == ("Travel Mug", "Glass Kettle")
    assert shop.with_listings({}) == shop


def test_the_digest_depends_on_all_that_is_shown_and_asked() -> None:
    shop = kettles()
    others = [
        shop.only((1, 0, 2, 3, 4, 5)),
        shop.with_listing(0, shop.listings[0].with_text("Ideal For", "")),
        dataclasses.replace(shop, request="Another?"),
        dataclasses.replace(shop, wordings=("Another?",)),
    ]
    assert len({shop.digest(), *(one.digest() for one in others)}) == 5
    assert shop.digest() == kettles(own=False).digest()


def test_a_schema_in_words_says_what_was_guessed() -> None:
    given = CatalogueSchema("Name", ("Price",), ("Text",), "Seller")
    assert given.in_words() == (
        "name: Name; facts of the shop: Price; texts of sellers: Text; merchant: Seller"
    )
    guessed = CatalogueSchema("Name", guessed=("Name",)).in_words()
    assert guessed.endswith("texts of sellers: none (guessed: Name)")
