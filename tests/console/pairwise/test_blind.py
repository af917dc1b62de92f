from __future__ import annotations

from adwright.console.pairwise.blind import pair_order, sides
from adwright.console.pairwise.pairs import PairText, ReviewPair

PAIRS = [
    ReviewPair(f"{n:020x}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(400)
]


def left(rater: str, seed: int = 0) -> list[str]:
    return [sides(pair, rater, seed=seed)[0].source for pair in PAIRS]


def test_each_source_stands_on_each_side_equally_often() -> None:
    for rater in ("ann", "bob"):
        assert 160 < left(rater).count("a") < 240
    for pair in PAIRS[:20]:
        assert set(sides(pair, "ann", seed=0)) == {pair.first, pair.second}


def test_a_rater_meets_the_same_again_and_another_rater_something_else() -> None:
    assert left("ann") == left("ann")
    same = sum(a == b for a, b in zip(left("ann"), left("bob"), strict=True))
    assert 150 < same < 250
    assert left("ann") != left("ann", seed=1)
    order = pair_order(PAIRS, "ann", seed=0)
    assert sorted(order) == list(range(400))
    assert order == pair_order(PAIRS, "ann", seed=0)
    assert order != pair_order(PAIRS, "bob", seed=0)
    assert order != pair_order(PAIRS, "ann", seed=1)


def test_the_place_in_the_order_tells_nothing_of_the_side() -> None:
    order = pair_order(PAIRS, "ann", seed=0)
    sources = [left("ann")[at] for at in order]
    assert 70 < sources[:200].count("a") < 130
