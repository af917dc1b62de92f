"""Targets that follow a printed rule, so that an audit of them has a known answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.target import FunctionTarget


def by_rating(listings: Sequence[ShopListing], request: str) -> list[float]:
    """The facts alone."""
    return [float(str(one.attributes["Rating"])) for one in listings]


def gullible() -> FunctionTarget:
    """The rating, and ten more for each "best" in a text; a tenth for each place further up."""

    def scores(listings: Sequence[ShopListing], request: str) -> list[float]:
        praise = [10.0 * " ".join(one.texts.values()).count("best") for one in listings]
        places = [-0.1 * at for at in range(len(listings))]
        return [
            sum(parts) for parts in zip(by_rating(listings, request), praise, places, strict=True)
        ]

    return FunctionTarget(scores, name="gullible")


def stubborn(reads: Callable[[str], None] | None = None) -> FunctionTarget:
    """The rating, whatever the texts say. reads: is told each text."""

    def scores(listings: Sequence[ShopListing], request: str) -> list[float]:
        for one in listings:
            for text in one.texts.values():
                if reads is not None:
                    reads(text)
        return by_rating(listings, request)

    return FunctionTarget(scores, name="stubborn")
