from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.targets.chat import NameFinder, NamePlace, plain_text
from tests.support.audit.answers import NAMES


def test_the_example_of_the_docstring() -> None:
    finder = NameFinder(("Snap", "Snap Pro", "Grind&Brew Plus"))
    text = "I like **snap-pro**, and the Grind & Brew Plus."
    found = finder.find(text)
    assert [one.row for one in found] == [1, 2]
    assert found[0] == NamePlace(9, 17, 1)
    assert text[found[1].start : found[1].end] == "Grind & Brew Plus"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("Brew", 11),
        ("brew!", 11),
        ("Brewer", None),
        ("ColdBrew", None),
        ("2 Brew 3", 11),
        ("Brew2", None),
        ("我要Brew。", 11),
        ("Café Brew", 11),
        ("éBrew", None),
        ("Cappuccino    King", None),
        ("Cappuccino -  King", None),
        ("Cappuccino, King", 8),
    ],
)
def test_where_a_name_begins_and_ends(text: str, row: int | None) -> None:
    assert NameFinder(NAMES).first(text) == row


def test_names_of_signs_and_other_scripts() -> None:
    finder = NameFinder(("咖啡机", "???", "C++", "Ä-1", ""))
    assert finder.first("推荐咖啡机。") == 0
    assert finder.first("what ???") == 1
    assert finder.first("a Ä 1") == 3
    assert finder.first("A\u0308-1") is None  # decomposed: `plain_text` comes first
    assert finder.first(plain_text("A\u0308-1")) == 3


def test_names_that_differ_in_signs_alone_are_the_first() -> None:
    assert [one.row for one in NameFinder(("A-1", "a 1")).find("a 1 and A-1")] == [0, 0]


def test_a_text_that_is_a_name_and_nothing_else() -> None:
    finder = NameFinder(NAMES)
    assert finder.exactly(' "Brew" ') == 11
    assert finder.exactly("Brew it") is None
    assert finder.exactly("Brew, LatteArt Pro") is None
    assert finder.exactly("") is None


@given(st.text(max_size=60))
def test_plain_text_is_plain(text: str) -> None:
    once = plain_text(text)
    assert plain_text(once) == once


@given(st.text(max_size=80))
def test_places_never_overlap(text: str) -> None:
    places = NameFinder(NAMES).find(text + " LatteArt Pro Max brew")
    assert all(one.end <= other.start for one, other in pairwise(places))
    assert [one.row for one in places][-2:] == [10, 11]
