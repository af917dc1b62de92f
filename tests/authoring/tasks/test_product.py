from __future__ import annotations

from typing import Any

import pytest

from adwright.authoring.tasks import Product
from adwright.core.errors import ValueInvalidError


def test_facts_are_all_that_is_known_in_order() -> None:
    tea = Product(
        "t1",
        " Mill Lane Assam 80 bags ",
        "Malty.",
        "Mill Lane",
        "Tea",
        "3.49",
        "GBP",
        (("Bags", "80"), ("Origin", " ")),
    )
    assert tea.facts() == (
        "Mill Lane Assam 80 bags",
        "Malty.",
        "Mill Lane",
        "Tea",
        "3.49 GBP",
        "Bags: 80",
    )


def test_what_is_not_known_is_no_fact() -> None:
    assert Product("t1", "Tea", price=" ", currency="GBP").facts() == ("Tea",)
    assert Product("t1", "").facts() == ()
    assert Product("t1", "Tea", price="3").facts() == ("Tea", "3")


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"id": "  "}, "a product needs an id"),
        ({"currency": "euro"}, "three capital letters"),
        ({"locale": "english please"}, "BCP 47"),
        ({"locale": ""}, "BCP 47"),
        ({"attributes": ((" ", "x"),)}, "an attribute needs a name"),
    ],
)
def test_what_is_no_product_is_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueInvalidError, match=what) as caught:
        Product(**{"id": "t1", "title": "Tea", **wrong})
    assert caught.value.column == next(iter(wrong))


@pytest.mark.parametrize("locale", ["en", "de-AT", "zh-Hant-TW", "sr-Latn", "en-x-shop"])
def test_tags_of_languages_are_taken(locale: str) -> None:
    assert Product("t1", "Tea", locale=locale).locale == locale
