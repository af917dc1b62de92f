from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.rows import KeptByDraw, chosen, drawn, share
from adwright.core.errors import ConfigError


def test_a_draw_follows_from_its_parts_alone() -> None:
    assert drawn(0, "a", "b") == drawn(0, "a", "b") == 12348886812891931454
    assert len({drawn(0, "a", "b"), drawn(1, "a", "b"), drawn(0, "ab"), drawn(0, "b", "a")}) == 4
    assert drawn(0, "half \ud800") < 2**64


def test_shares_are_even() -> None:
    shares = [share(3, str(number)) for number in range(2000)]
    assert 0 <= min(shares) < 0.01
    assert 0.99 < max(shares) < 1
    assert sum(shares) / 2000 == pytest.approx(0.5, abs=0.02)


def test_one_is_chosen() -> None:
    many = "abcdef"
    assert {chosen(many, 0, str(number)) for number in range(200)} == set(many)
    assert chosen(many, 0, "x") == chosen(many, 0, "x")
    with pytest.raises(ConfigError, match="nothing to choose"):
        chosen([], 0)


@given(st.lists(st.text(max_size=4), unique=True, max_size=40), st.integers(1, 10), st.randoms())
def test_the_same_are_kept_in_whatever_order(keys: list[str], most: int, order: object) -> None:
    one, other = KeptByDraw[str](most, seed=5), KeptByDraw[str](most, seed=5)
    for key in keys:
        one.offer(key, key)
    shuffled = list(keys)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    for key in shuffled:
        other.offer(key, key)
    least = sorted(keys, key=lambda key: drawn(5, "kept", key))[:most]
    assert one.things() == other.things() == least
    assert one.seen == len(keys)


def test_a_key_is_kept_once_and_none_bounds_nothing() -> None:
    kept = KeptByDraw[int](0)
    assert kept.offer("a", 1)
    assert kept.offer("a", 2)
    for number in range(50):
        kept.offer(str(number), number)
    assert len(kept.things()) == 51
    assert 2 in kept.things()
    assert KeptByDraw[int](1, seed=1).things() == []
    with pytest.raises(ConfigError, match="must not be negative"):
        KeptByDraw[int](-1)


def test_the_seed_changes_what_is_kept() -> None:
    kept = []
    for seed in (0, 1):
        few = KeptByDraw[int](5, seed=seed)
        for number in range(100):
            few.offer(str(number), number)
        kept.append(few.things())
    assert kept[0] != kept[1]
