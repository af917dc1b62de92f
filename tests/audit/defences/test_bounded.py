from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.audit.catalogue import ShopListing
from adwright.audit.certificate.certificate import rank_bounds
from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget
from adwright.audit.targets.target import Ask, FunctionTarget
from adwright.core.errors import ConfigError
from tests.support.audit.defended import kettles

SHOP = kettles()


def capacity(listings: Sequence[ShopListing], request: str) -> list[float]:
    return [float(str(one.attributes.get("Capacity", "0 l")).split()[0]) for one in listings]


def gullible(listings: Sequence[ShopListing], request: str) -> list[float]:
    """Believes exclamation marks, and a capacity in whatever field."""
    return [one.shown().count("!") - 3.0 * one.shown().count("?") for one in listings]


def bounded(eps: float = 0.25) -> BoundedTarget:
    facts = FunctionTarget(capacity, name="capacity")
    return BoundedTarget(facts, IsolatedTarget(FunctionTarget(gullible, name="gullible")), eps)


def shouting(count: int, row: int = 0) -> list[ShopListing]:
    return [
        one.with_text("Description", "!" * count) if at == row else one
        for at, one in enumerate(SHOP)
    ]


def test_a_text_moves_its_own_score_by_eps_at_most() -> None:
    (before,), (after,) = (bounded().rank([Ask(s, "?", range(4))]) for s in (SHOP, shouting(99)))
    moved = np.subtract(after.scores, before.scores)  # type: ignore[arg-type]
    assert moved.tolist() == [0.25, 0, 0, 0]
    assert after.order == (1, 2, 0, 3)


def test_facts_are_asked_for_once_for_a_catalogue_and_a_request() -> None:
    asked: list[str] = []

    def counted(listings: Sequence[ShopListing], request: str) -> list[float]:
        asked.append(request)
        return capacity(listings, request)

    texts = IsolatedTarget(FunctionTarget(gullible, name="gullible"))
    target = BoundedTarget(FunctionTarget(counted, name="capacity"), texts, 0.25)
    for shop in (SHOP, shouting(3), shouting(5, 1)):
        target.rank([Ask(shop, "?", range(4)), Ask(shop, "?", (3, 2, 1, 0))])
    assert asked == ["?"]
    target.rank([Ask(SHOP, "another", range(4))])
    (found,) = target.rank([Ask(SHOP[:3], "?", range(3))])
    assert asked == ["?", "another", "?"]
    (anew,) = bounded().rank([Ask(SHOP[:3], "?", range(3))])
    assert found.scores == anew.scores


def test_a_wider_bound_lets_it_pass() -> None:
    (found,) = bounded(5.0).rank([Ask(shouting(99), "?", range(4))])
    assert found.order[0] == 0


@settings(max_examples=40)
@given(st.lists(st.text("!?a", max_size=6), min_size=4, max_size=4), st.permutations(range(4)))
def test_no_texts_leave_the_certificate(texts: list[str], order: list[int]) -> None:
    target = bounded(0.5)
    bounds = rank_bounds(target.scores(SHOP, "?"))
    for row in range(4):
        mine = [
            one.with_text("Description", texts[at]) if at == row else one
            for at, one in enumerate(SHOP)
        ]
        theirs = [
            one if at == row else one.with_text("Description", texts[at])
            for at, one in enumerate(SHOP)
        ]
        found, other = target.rank([Ask(mine, "?", order), Ask(theirs, "?", order)])
        assert found.rank_of(row, of=4) >= bounds.best[row]
        assert other.rank_of(row, of=4) <= bounds.worst[row]


def test_an_attribute_that_sellers_write_widens_the_certificate() -> None:
    """Capacity as a text: the facts no longer hold it, and the certificate says so."""
    moved = [one.as_text("Capacity") for one in SHOP]
    certified, wide = (rank_bounds(bounded().scores(some, "?")) for some in (SHOP, moved))
    assert (wide.worst - wide.best).sum() > (certified.worst - certified.best).sum()


def test_a_text_that_breaks_the_scorer_gains_nothing() -> None:
    def brittle(listings: Sequence[ShopListing], request: str) -> list[float]:
        return [1e308 * one.shown().count("!") for one in listings]

    target = BoundedTarget(
        FunctionTarget(capacity, name="c"), IsolatedTarget(FunctionTarget(brittle, name="b")), 0.25
    )
    scores = target.scores(shouting(1), "?")
    assert scores.honest[0] <= 1.25


def test_bad_targets_are_refused() -> None:
    names = FunctionTarget(lambda listings, request: [one.name for one in listings], name="names")
    alone = IsolatedTarget(FunctionTarget(gullible, name="g"))
    with pytest.raises(ConfigError, match="target of the facts gives no scores"):
        BoundedTarget(names, alone, 0.5).rank([Ask(SHOP, "?", range(4))])
    with pytest.raises(ConfigError, match="eps"):
        BoundedTarget(names, alone, -1)
    target = bounded()
    assert target.name == "capacity, and texts within 0.25 by gullible, each listing by itself"
    target.close()
