from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.metrics.text.mentions import (
    lexicon,
    read_number,
    read_quantity,
    read_said,
    unit_after,
)

EN = lexicon("en")


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1,000", 1000, 1),
        ("1.000", 1, 1000),
        ("1.500", "3/2", 1500),
        ("2,5", "5/2", "5/2"),
        ("1,000.5", "2001/2", "2001/2"),
        ("1.000,5", "2001/2", "2001/2"),
        ("1,00,000", 100000, 100000),
        ("1'000", 1000, 1000),
        ("1\u202f000", 1000, 1000),
        ("0,125", "1/8", "1/8"),
        ("1/2", "1/2", "1/2"),
        ("2 1/2", "5/2", "5/2"),
        ("2½", "5/2", "5/2"),
        ("½", "1/2", "1/2"),
        (".5", "1/2", "1/2"),
        ("٣", 3, 3),
    ],
)
def test_numbers(text: str, point: int | str, comma: int | str) -> None:
    assert read_number(text, decimal_comma=False) == Fraction(point)
    assert read_number(text, decimal_comma=True) == Fraction(comma)


@pytest.mark.parametrize("text", ["1/0", "9" * 41])
def test_what_has_no_value_is_kept(text: str) -> None:
    assert read_number(text, decimal_comma=False) == text


@given(st.integers(0, 10**12))
def test_groups_of_thousands(value: int) -> None:
    assert read_number(f"{value:,}", decimal_comma=False) == value
    assert read_number(f"{value:,}".replace(",", "."), decimal_comma=True) == value


def test_quantities_are_converted_exactly() -> None:
    def same(one: tuple[str, str], other: tuple[str, str]) -> bool:
        mine, theirs = (
            read_quantity(read_number(number, decimal_comma=False), unit, EN)
            for number, unit in (one, other)
        )
        return mine == theirs

    assert same(("1,500", "ml"), ("1.5", "l"))
    assert same(("10", "inches"), ("25.4", "cm"))
    assert not same(("10", "inches"), ("25", "cm"))
    assert not same(("1", "gb"), ("1000", "mb"))
    assert not same(("1", "gb"), ("1024", "mb"))
    assert not same(("4", "speakers"), ("4", "ports"))
    assert same(("2", "weeks"), ("14", "days"))
    assert same(("2", "years"), ("24", "months"))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("5 fl oz", "fl oz"),
        ("5-inch", "inch"),
        ("5 km/h", "km/h"),
        ('5" wide', '"'),
        ('the "Model 5" is', ""),
        ("5 in 1", ""),
        ("5 in.", "in"),
        ("5 in wide", "in"),
        ("5 a day", ""),
        ("5a", "a"),
        ("5 hours", "hours"),
        ("5 great", ""),
        ("5 EUR", "eur"),
        ("5°C", "°c"),
        ("5", ""),
    ],
)
def test_units_after_a_number(text: str, unit: str) -> None:
    at = text.index("5") + 1
    found, end = unit_after(text, at, EN)
    assert found == unit
    assert text[at:end].lstrip(" -").lower() == unit


@pytest.mark.parametrize(
    ("text", "value", "taken"),
    [
        ("one thousand", 1000, "one thousand"),
        ("two hundred and five bags", 205, "two hundred and five"),
        ("twenty-five", 25, "twenty-five"),
        ("two two", 2, "two"),
        ("three dozen eggs", 36, "three dozen"),
        ("dozen", 12, "dozen"),
        ("five and six", 5, "five"),
        ("three million two hundred", 3000200, "three million two hundred"),
    ],
)
def test_numbers_in_words(text: str, value: int, taken: str) -> None:
    assert read_said(text, 0, EN) == (value, len(taken))


def test_no_number_in_words() -> None:
    assert read_said("bags", 0, EN) is None
    assert read_said(" ", 0, EN) is None
