"""Something small to attack: three teas, a tiny random model, and rankers that are plain rules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from adwright.audit.attacks.attack import AttackBudget, AttackGoal, RankFeedback, SpendingMeter
from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.targets.target import FunctionTarget

LISTINGS = (
    ShopListing("Green Tea", {"Price": 4}, {"Description": "a light tea", "For": "cold days"}),
    ShopListing("Black Tea", {"Price": 5}, {"Description": "a warm tea", "For": "the morning"}),
    ShopListing("White Tea", {"Price": None}, {"Description": "a tea", "For": "a friend"}),
)
ORDERS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))


def teas(*, own: bool = True) -> ShopCatalogue:
    return ShopCatalogue("teas", "name the best tea", LISTINGS, own=own)


def tea_goal(row: int = 1) -> AttackGoal:
    return AttackGoal(teas(), row)


def meter(calls: float = 1000.0, cpu_seconds: float = 0.0) -> SpendingMeter:
    return SpendingMeter(AttackBudget(calls, cpu_seconds), cpu=lambda: 0.0)


def counts_praise(listings: Sequence[ShopListing], request: str) -> list[float]:
    """Ranks by how often a record says best; earlier rows win ties."""
    return [float(one.shown().count("best")) for one in listings]


def praise_feedback(calls: float = 1000.0, row: int = 1) -> RankFeedback:
    """Ranks of a product by a target that counts a word of praise."""
    target = FunctionTarget(counts_praise, name="counts praise")
    return RankFeedback(target, tea_goal(row), ORDERS[:2], meter(calls))


@cache
def tiny_network() -> Any:
    """The tiny Llama, with room for a prompt of three records."""
    from tests.support.lm.tiny_llama import tiny_llama

    model = tiny_llama()
    model.config.max_position_embeddings = 2048
    return model
