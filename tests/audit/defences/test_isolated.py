from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.stack import IsolatedTarget
from adwright.audit.targets.target import Ask, FunctionTarget, Target
from adwright.core.errors import ConfigError
from tests.support.audit.defended import kettles

SHOP = kettles()


class Bully:
    """A ranker that a text can turn against the others: length counts, and "hate NAME" hurts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, listings: Sequence[ShopListing], request: str) -> list[float]:
        self.calls += 1
        shown = " ".join(one.shown() for one in listings)
        return [
            len("".join(one.texts.values())) - 1000.0 * (f"hate {one.name}" in shown)
            for one in listings
        ]


def asked(listings: Sequence[ShopListing]) -> Ask:
    return Ask(listings, "a kettle", range(len(listings)))


def test_no_text_reaches_another_product() -> None:
    attacked = [SHOP[0].with_text("Description", "hate Beta"), *SHOP[1:]]
    plain, alone = (
        FunctionTarget(Bully(), name="b"),
        IsolatedTarget(FunctionTarget(Bully(), name="b")),
    )
    assert isinstance(alone, Target)
    scores = [t.rank([asked(some)])[0].scores for t in (plain, alone) for some in (SHOP, attacked)]
    before, after, before_alone, after_alone = (np.array(one) for one in scores)
    assert before[1] - after[1] == 1000
    assert (before_alone[1:] == after_alone[1:]).all()


def test_each_listing_is_asked_once() -> None:
    bully = Bully()
    alone = IsolatedTarget(FunctionTarget(bully, name="b"))
    (first,) = alone.rank([asked(SHOP)])
    again, _ = alone.rank([asked(SHOP), asked(SHOP[::-1])])
    assert bully.calls == len(SHOP)
    assert first.cost.calls == len(SHOP)
    assert again.cost.calls == 0
    assert again.order == first.order
    alone.rank([Ask(SHOP, "another", range(4))])
    assert bully.calls == 2 * len(SHOP)
    alone.close()


def test_the_term_of_a_text_is_what_it_adds() -> None:
    alone = IsolatedTarget(FunctionTarget(Bully(), name="b"))
    terms, cost = alone.text_terms(SHOP, "a kettle")
    assert terms.tolist() == [len(one.texts["Description"]) for one in SHOP]
    # Delta has no text, so that it is asked once.
    assert cost.calls == 2 * len(SHOP) - 1
    assert alone.name == "b, each listing by itself"


def test_a_target_without_scores_is_refused() -> None:
    names = FunctionTarget(lambda listings, request: [one.name for one in listings], name="names")
    with pytest.raises(ConfigError, match="no scores"):
        IsolatedTarget(names).rank([asked(SHOP)])
