"""A target behind a defence: what the seller wrote is cleaned before the target reads it.

    target = DefendedTarget(LikelihoodTarget(model), defence)

What a defence does to a listing depends on that listing alone, so each is cleaned once and
remembered by what it shows.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target
from adwright.core.errors import ConfigError

_REMEMBERED = 10_000


@runtime_checkable
class ListingCleaner(Protocol):
    """What a defence does to a listing before a model reads it."""

    @property
    def name(self) -> str:
        """Names the defence and what is switched on in it."""

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as the model may read it: of the same name, with other texts."""


class DefendedTarget:
    """A target that reads cleaned listings. It closes the target with itself. The time of the
    defence is in the costs."""

    def __init__(
        self,
        target: Target,
        defence: ListingCleaner,
        *,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.target = target
        self.defence = defence
        self._cpu = cpu
        self._known: OrderedDict[ShopListing, ShopListing] = OrderedDict()

    @property
    def name(self) -> str:
        """The target and the defence."""
        return f"{self.target.name}, defended by {self.defence.name}"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """As the target, of the cleaned listings. Raises ConfigError where the defence gives a
        listing another name."""
        began = self._cpu()
        cleaned = [replace(ask, listings=[self.clean(one) for one in ask.listings]) for ask in asks]
        seconds = (self._cpu() - began) / max(len(asks), 1)
        spent = RankingCost(cpu_seconds=seconds)
        return [replace(one, cost=one.cost + spent) for one in self.target.rank(cleaned)]

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as the target reads it."""
        known = self._known.get(listing)
        if known is None:
            known = self.defence.clean(listing)
            if known.name != listing.name:
                raise ConfigError(
                    "the defence changed the name of a listing",
                    where=f"{self.defence.name}: {listing.name!r} to {known.name!r}"[:160],
                    hint="a defence changes texts alone",
                )
            self._known[listing] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def close(self) -> None:
        """Close the target."""
        self.target.close()
