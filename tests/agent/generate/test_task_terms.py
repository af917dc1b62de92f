"""Words made alike, and their weights."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.generate.task import TermWeights, near_terms, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Renamed the offers", ("renam", "offer")),
        ("The categories' prices", ("category", "pric")),
        ("*Campaign Id", ("campaign", "id")),
        ("numInStock", ("num", "stock")),
        ("status", ("status",)),
        ("to the", ()),
    ],
)
def test_words_lose_their_endings_and_those_without_meaning(
    text: str, terms: tuple[str, ...]
) -> None:
    assert terms_of(text) == terms


def test_near_terms_go_both_ways() -> None:
    assert "titl" in near_terms("nam")
    assert "nam" in near_terms("titl")
    assert near_terms("zebra") == frozenset()


def test_rare_terms_weigh_more() -> None:
    weights = TermWeights(["offer name", "offer price", "offer voucher"])
    assert weights["voucher"] == pytest.approx(math.log(4))
    assert weights["offer"] == pytest.approx(math.log(2))
    assert weights.of(["offer", "offer"]) == weights["offer"]
    assert (weights.knows("pric"), weights.knows("cost"), weights.knows("zebra")) == (
        True,
        True,
        False,
    )


def test_near_terms_count_for_less() -> None:
    weights = TermWeights(["price", "title"])
    assert weights.shared(["pric"], ["pric"]) > weights.shared(["pric"], ["cost"]) > 0
    assert weights.shared(["pric"], ["titl"]) == 0


@given(st.text(max_size=60))
def test_any_text_has_terms_that_stay(text: str) -> None:
    terms = terms_of(text)
    assert all(one and one == one.casefold() for one in terms)
