from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.mending import Level, cut, quieter, tidy


def without(text: str, part: str, level: Level) -> str:
    start = text.index(part)
    return cut(text, [(start, start + len(part))], level)


@pytest.mark.parametrize(
    ("text", "part", "left"),
    [
        ("A soft red shirt, made well.", "red", "A soft shirt, made well."),
        ("An orange lid", "orange", "A lid"),
        ("A leather armchair", "leather", "An armchair"),
        ("Comes in red and black.", "red", "Comes in black."),
        ("Comes in black and red.", "red", "Comes in black."),
        ("Navy, red and steel", "red", "Navy and steel"),
        ("A tin with 16 MB of memory in black.", "16 MB", "A tin in black."),
        ("Tea by Nike", "Nike", "Tea"),
        ("It is red. It is good.", "red", "It is good."),
        ("Red shirts for you", "Red", "Shirts for you"),
        (
            "It has a cup that people from Paris love, made well.",
            "Paris",
            "It has a cup, made well.",
        ),
        (
            "It is a luxurious and floral scent, for you",
            "luxurious",
            "It is a floral scent, for you",
        ),
        ("With this mild and cruelty-free tea.", "cruelty-free", "With this mild tea."),
        ("A car, a spacious and sturdy SUV, for all", "SUV", "A car, for all"),
        ("A tin with 16 MB of memory and a lid, in black.", "16 MB", "A tin, in black."),
        ("One line, 5 kg\nAnother", "5 kg", "One line\nAnother"),
    ],
)
def test_the_least_that_reads_well(text: str, part: str, left: str) -> None:
    assert without(text, part, "word") == left


def test_levels_take_out_more_and_more() -> None:
    text = "First one. A soft red shirt, made in red Paris, for you. Last one."
    assert without(text, "red P", "word").count("red") == 1
    assert without(text, "Paris", "clause") == "First one. A soft red shirt, for you. Last one."
    assert without(text, "Paris", "sentence") == "First one. Last one."
    assert cut(text, [(0, 5), (60, 64)], "sentence").startswith("A soft red shirt")


def test_numbers_keep_their_points_and_commas() -> None:
    text = "It holds 1,000 g. It weighs 2.5 kg, in red."
    assert without(text, "red", "word") == "It holds 1,000 g. It weighs 2.5 kg."


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("a  b ,  c .", "a b, c."),
        (", and so with.", "and so."),
        ("a ( ) b", "a b"),
        ("a,, b", "a, b"),
        ("costs .5", "costs .5"),
    ],
)
def test_tidy(text: str, tidied: str) -> None:
    assert tidy(text) == tidied


def test_a_sentence_begins_with_a_capital_where_it_did() -> None:
    assert tidy("tea", like="Red tea") == "Tea"
    assert tidy("iPhone", like="Red iPhone") == "iPhone"


def test_quieter() -> None:
    assert quieter("BUY NOW") == "Buy now"
    assert [quieter(one) for one in ("!!!", "?!", "$$$", "! ! ")] == ["!", "?", "", "! "]


@given(
    st.text(st.sampled_from("ab ,.\n(and) a"), max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=3),
    st.sampled_from(["word", "clause", "sentence"]),
)
def test_what_is_cut_is_never_longer(
    text: str, places: list[tuple[int, int]], level: Level
) -> None:
    parts = [(min(at, len(text)), min(at + size, len(text))) for at, size in places]
    assert len(cut(text, parts, level)) <= len(text) + len(parts)
