from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.audit.defences.guard.features import CharModel, window_most
from adwright.core.errors import ConfigError, DataError

WORDS = ("the quiet kettle", "a kettle for tea", "tea, at home.", "")


def slow_chance(texts: list[str], history: str, sign: str, order: int) -> float:
    """The formula, by counting; NUL stands before a text."""
    padded = ["\0" * (order - 1) + text for text in texts]
    chance = 1 / 97
    for size in range(order):
        before = history[len(history) - size :]
        seen = [
            one[at]
            for one in padded
            for at in range(order - 1, len(one))
            if one[at - size : at] == before
        ]
        if seen:
            chance = (seen.count(sign) + len(set(seen)) * chance) / (len(seen) + len(set(seen)))
    return chance


@settings(max_examples=30)
@given(st.lists(st.text("ab. ", max_size=8), min_size=1, max_size=4), st.text("abc ", max_size=6))
def test_it_is_the_formula(texts: list[str], text: str) -> None:
    if not any(texts):
        return
    bits, offsets = CharModel.fit(texts, order=3).surprisals([text])
    padded = "\0\0" + text
    for at, one in enumerate(text):
        assert 2.0 ** -bits[at] == pytest.approx(slow_chance(texts, padded[: at + 2], one, 3))
    assert offsets.tolist() == [0, len(text)]


def test_chances_add_up_to_one() -> None:
    model = CharModel.fit(WORDS, order=4)
    signs = [chr(code) for code in range(32, 127)] + ["é", "→"]
    bits, _ = model.surprisals([f"ket{sign}" for sign in signs])
    assert (2.0 ** -bits.reshape(-1, 4)[:, 3]).sum() == pytest.approx(1)


def test_what_was_seen_surprises_less() -> None:
    model = CharModel.fit(WORDS * 5)
    known, odd, empty = model.means(["the kettle", "xQ]](*z", ""])
    assert known < 2 < odd
    assert empty == 0


def test_a_base_knows_what_few_texts_do_not() -> None:
    base = CharModel.fit(["the quiet kettle is on the stove"] * 20)
    plain, over = CharModel.fit(["zz top"]), CharModel.fit(["zz top"], base=base)
    assert over.means(["kettle"])[0] < plain.means(["kettle"])[0]
    assert over.means(["zz top"])[0] < base.means(["zz top"])[0]


def test_order_and_case_count() -> None:
    texts = ["abcabcabc"] * 3
    assert CharModel.fit(texts, order=1).means(texts)[0] > CharModel.fit(texts).means(texts)[0] + 1
    assert CharModel.fit(texts).order == 5
    model = CharModel.fit(texts)
    assert model.means(["ABC"])[0] > model.means(["abc"])[0]


def test_any_text_has_a_finite_surprisal() -> None:
    model = CharModel.fit(WORDS)
    texts = ["\n\t", "日本", "\ud800", "🙂", "x" * 30_000, ""]
    bits, offsets = model.surprisals(texts)
    assert np.isfinite(bits).all()
    assert np.diff(offsets).tolist() == [2, 2, 1, 1, 20_000, 0]
    assert model.surprisals([])[0].tolist() == []


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="no character"):
        CharModel.fit(["", ""])
    with pytest.raises(ConfigError, match="at most 8"):
        CharModel.fit(WORDS, order=9)
    with pytest.raises(DataError, match="row 1"):
        CharModel.fit(["a", 3])  # type: ignore[list-item]


def test_the_largest_window() -> None:
    bits = np.array([1.0, 5.0, 6.0, 1.0])
    assert window_most(bits, 2) == 5.5
    assert window_most(bits, 9) == pytest.approx(13 / 4)
    assert window_most(np.zeros(0), 2) == 0
    assert math.isclose(-window_most(-bits, 1), 1)
