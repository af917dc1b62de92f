from __future__ import annotations

from fractions import Fraction

import pytest

from adwright.metrics.text.mentions import brand_table, lexicon, scan

EN = lexicon("en")


def keys(text: str, *brands: str) -> list[object]:
    return [one.keys[0] for one in scan(text, EN, brand_table(frozenset(brands))).mentions]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sold by Old Mill Lane", ["old mill lane"]),
        ("1920x1080", [(Fraction(1080), ""), (Fraction(1920), "")]),
        ("1080p", [("code", "1080p")]),
        ("10 x 12 cm", [(Fraction(120), "length"), (Fraction(100), "length")]),
        ("non-leather", ["not leather"]),
        ("without any leather", ["not leather"]),
        ("leather-free", ["not leather"]),
        ("nickel-free", ["nickel free"]),
        ("stress-free", []),
        ("light grey", ["light gray"]),
        ("black friday", []),
        ("$5", [(Fraction(5), "price", "$")]),
        ("#1", ["best"]),
    ],
)
def test_what_a_text_speaks_of(text: str, wanted: list[object]) -> None:
    assert keys(text, "Old Mill Lane", "Old") == wanted


def test_a_range_is_more_than_its_ends() -> None:
    found = keys("5-10 cm")
    assert len(found) == 3
    assert found[:2] == [(Fraction(100), "length"), (Fraction(50), "length")]
    assert keys("5 cm, 10 cm") == [found[0], found[1]]


def test_implied_keys_and_codes() -> None:
    found = scan("Stainless steel KX-TG6700B", EN, {})
    assert found.implied == {"steel", "metal"}
    assert {"kxtg6700b", "kx", "tg6700b"} <= found.codes
    assert [word.low for word in found.words] == ["stainless", "steel"]
