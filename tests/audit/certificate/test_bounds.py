from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.certificate.certificate import BoundedScores, RankBounds, rank_bounds

#: Few values, so that there are ties.
LEVELS = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5])


@st.composite
def small(draw: st.DrawFn) -> BoundedScores:
    count = draw(st.integers(1, 4))
    rows = st.lists(LEVELS, min_size=count, max_size=count)
    return BoundedScores(
        np.array(draw(rows)), np.array(draw(rows)), draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    )


def choices(scores: BoundedScores, row: int) -> list[float]:
    """Every score that matters which a text can give a product: its ends, and all that tie."""
    low, high = float(scores.lowest[row]), float(scores.highest[row])
    return [low, high, *(float(s) for s in scores.honest if low <= s <= high)]


def rank(values: list[float], row: int, *, worst: bool) -> int:
    """By the definition; ties count against or for the product."""
    others = [value for at, value in enumerate(values) if at != row]
    return 1 + sum(o >= values[row] if worst else o > values[row] for o in others)


def by_trying(scores: BoundedScores) -> tuple[list[int], list[int]]:
    """Best and worst ranks over all assignments of scores."""
    honest = scores.honest.tolist()
    best, worst = [], []
    for row in range(len(scores)):
        tries = [[*honest[:row], one, *honest[row + 1 :]] for one in choices(scores, row)]
        best.append(min(rank(values, row, worst=False) for values in tries))
        free = [[one] if at == row else choices(scores, at) for at, one in enumerate(honest)]
        worst.append(max(rank(list(vs), row, worst=True) for vs in itertools.product(*free)))
    return best, worst


@given(small())
def test_bounds_are_what_trying_everything_finds(scores: BoundedScores) -> None:
    bounds = rank_bounds(scores)
    assert (bounds.best.tolist(), bounds.worst.tolist()) == by_trying(scores)


@given(small())
def test_the_rank_as_it_is_lies_between(scores: BoundedScores) -> None:
    bounds = rank_bounds(scores)
    assert (bounds.gain >= 0).all()
    assert (bounds.loss >= 0).all()
    assert bounds.rank.tolist() == scores.ranks().tolist()


def test_a_wider_bound_lets_no_rank_come_closer() -> None:
    rng = np.random.default_rng(0)
    facts, texts = rng.normal(size=(2, 50))
    narrow, wide = (rank_bounds(BoundedScores(facts, texts, eps)) for eps in (0.0, 0.5))
    assert (narrow.gain == 0).all()
    assert wide.gain.sum() > 0
    assert (narrow.worst <= rank_bounds(BoundedScores(facts, 0 * texts, 0.5)).worst).all()


def test_a_hundred_thousand_attacks_stay_inside() -> None:
    """Random and adversarial texts: of one product, then of all others together."""
    rng = np.random.default_rng(1)
    inside = 0
    for count, eps in itertools.product((2, 10, 25), (0.1, 1.0)):
        facts, texts = rng.normal(size=(2, count)).round(1)
        scores = BoundedScores(facts, texts, eps)
        bounds = rank_bounds(scores)
        tries = 17_000
        attacked = facts + np.clip(attacks(rng, tries, count), -eps, eps)
        row = rng.integers(0, count, tries)
        at = np.arange(tries)
        mine = attacked[at, row]
        others = np.broadcast_to(scores.honest, (tries, count)).copy()
        others[at, row] = -np.inf
        found = 1 + (others > mine[:, None]).sum(1)
        assert (found >= bounds.best[row]).all()
        attacked[at, row] = -np.inf
        found = 1 + (attacked >= scores.honest[row][:, None]).sum(1)
        assert (found <= bounds.worst[row]).all()
        inside += tries
    assert inside >= 100_000


def attacks(rng: np.random.Generator, tries: int, count: int) -> np.ndarray:
    """Scores that an attacker might reach: anything, extremes, and right at the bound."""
    kind = rng.integers(0, 3, (tries, count))
    drawn = rng.normal(scale=10, size=(tries, count))
    ends = rng.choice([-1e300, 1e300, -0.1, 0.1, -1.0, 1.0], size=(tries, count))
    return np.where(kind == 0, drawn, np.where(kind == 1, ends, np.sign(drawn) * 1e9))


def test_a_claim_that_counts_as_a_text_widens_the_certificate() -> None:
    """A field that sellers may write is no fact: its share of the score moves over to the text."""
    rng = np.random.default_rng(2)
    verified, claimed, texts = rng.normal(size=(3, 40))
    trusted = rank_bounds(BoundedScores(verified + claimed, texts, 0.3))
    moved = rank_bounds(BoundedScores(verified, texts + claimed, 0.3 + np.abs(claimed).max()))
    assert width(moved) > width(trusted)


def width(bounds: RankBounds) -> int:
    return int((bounds.worst - bounds.best).sum())


def test_a_million_products_have_bounds() -> None:
    rng = np.random.default_rng(3)
    scores = BoundedScores(*rng.normal(size=(2, 1_000_000)), 0.2)
    bounds = rank_bounds(scores)
    assert (bounds.best <= bounds.worst).all()
    assert (int(bounds.best.min()), int(bounds.worst.max())) == (1, 1_000_000)


def test_no_product_has_no_bounds() -> None:
    assert rank_bounds(BoundedScores(np.zeros(0), np.zeros(0), 1.0)).best.tolist() == []


@pytest.mark.parametrize("shift", [-3.0, 7.0])
def test_only_differences_count(shift: float) -> None:
    facts, texts = np.arange(8.0), np.linspace(-2, 2, 8)
    here = rank_bounds(BoundedScores(facts, texts, 0.5))
    there = rank_bounds(BoundedScores(facts + shift, texts, 0.5))
    assert (here.best.tolist(), here.worst.tolist()) == (there.best.tolist(), there.worst.tolist())
