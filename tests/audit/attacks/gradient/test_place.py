from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.attacks.gradient_reading import SuffixPlace
from adwright.audit.catalogue import ShopListing
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import ORDERS, tea_goal
from tests.support.audit.literal_gcg import literal_prompt
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens

TOKENS = tiny_tokens()
START = " x" * 6


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(TOKENS.encode(text, special=False))


def test_the_suffix_and_the_answer_lie_where_they_are_said_to() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    for order in ORDERS:
        prompt = place.prompt(order)
        literal = literal_prompt(tea_goal(), TOKENS, START, order)
        assert list(prompt.ids) == literal.ids
        assert prompt.ids[prompt.start : prompt.end] == place.first == ids_of(START)
        assert TOKENS.decode(prompt.ids[prompt.answer :]) == "1. Black Tea"
        assert TOKENS.decode(prompt.ids[: prompt.start]).endswith("the morning")


def test_the_plain_form_and_another_request_make_other_prompts() -> None:
    chat, plain = (SuffixPlace(tea_goal(), TOKENS, START, form) for form in ("chat", "plain"))  # type: ignore[arg-type]
    assert chat.prompt(ORDERS[0]).ids != plain.prompt(ORDERS[0]).ids
    assert "Recommendations:" in TOKENS.decode(plain.prompt(ORDERS[0]).ids)
    assert "cheap" in TOKENS.decode(chat.prompt(ORDERS[0], "cheap tea").ids)


def test_tokens_that_become_others_do_not_survive() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    tea, halves = ids_of(" tea"), [TOKENS.encode(part, special=False) for part in (" te", "a")]
    assert len(tea) == 1
    split = (*halves[0], *halves[1], *place.first)[: len(place.first)]
    assert not place.survives(split)
    assert place.survives((*tea, *place.first[1:]))
    assert place.survives(place.first)


@given(st.lists(st.integers(2, VOCABULARY - 1), min_size=6, max_size=6))
def test_what_survives_is_read_back_token_by_token(suffix: list[int]) -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START)
    suffix = suffix[: len(place.first)] + list(place.first[len(suffix) :])
    again = literal_prompt(tea_goal(), TOKENS, TOKENS.decode(suffix), (0, 1, 2)).ids
    assert place.survives(suffix) == (again == list(place.prompt((0, 1, 2)).with_suffix(suffix)))


def test_what_a_defence_catches_does_not_survive() -> None:
    asked: list[str] = []

    def passes(text: str) -> bool:
        asked.append(text)
        return "tea" not in text

    place = SuffixPlace(tea_goal(), TOKENS, START, passes=passes)
    assert place.survives(place.first)
    other = (*ids_of(" tea"), *place.first[1:])
    assert not place.survives(other)
    assert asked == [START, place.text(other)]


class Shouts:
    """Makes a text capital, and takes out one with a word."""

    name = "shouts"

    def clean(self, listing: ShopListing) -> ShopListing:
        text = listing.texts["For"]
        return listing.with_text("For", "" if "bad" in text else text.replace("y", "i"))


def test_the_record_is_read_as_the_defence_leaves_it_and_alone() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts(), alone=True)
    read = TOKENS.decode(place.prompt((2, 0, 1)).ids)
    assert place.prompt((2, 0, 1)) == place.prompt((0, 1, 2))
    assert "Black Tea" in read
    assert "Green Tea" not in read
    assert "the morning" in read
    other = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts())
    assert "Green Tea" in TOKENS.decode(other.prompt((0, 1, 2)).ids)


def test_what_the_defence_changes_does_not_survive() -> None:
    place = SuffixPlace(tea_goal(), TOKENS, START, cleaner=Shouts())
    assert place.survives(place.first)
    assert not place.survives((*ids_of(" y"), *place.first[1:]))
    with pytest.raises(ConfigError, match="exactly once"):
        SuffixPlace(tea_goal(), TOKENS, f"{START} bad", cleaner=Shouts())


@pytest.mark.parametrize("start", [" tea", ""])
def test_a_start_that_cannot_be_found_is_refused(start: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match="exactly once"):
        SuffixPlace(tea_goal(), TOKENS, str(start))
