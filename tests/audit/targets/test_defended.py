from __future__ import annotations

import dataclasses

import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.target import Ask, DefendedTarget
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()


class Mute:
    """Takes every text away, and counts."""

    name = "mute"
    cleaned = 0

    def clean(self, listing: ShopListing) -> ShopListing:
        self.cleaned += 1
        return listing.without_texts()


class Renames(Mute):
    """Breaks the promise."""

    def clean(self, listing: ShopListing) -> ShopListing:
        return dataclasses.replace(listing, name="X")


def test_what_a_defence_takes_away_moves_no_rank() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "the best best best"))
    ask = Ask(loud.listings, REQUEST, range(6))
    assert gullible().rank([ask])[0].order[0] == 0
    target = DefendedTarget(gullible(), Mute())
    ranking = target.rank([ask])[0]
    assert ranking.order == gullible().rank([Ask(SHOP.listings, REQUEST, range(6))])[0].order
    assert target.name == "gullible, defended by mute"
    target.close()


def test_each_listing_is_cleaned_once_and_the_time_counts() -> None:
    defence = Mute()
    ticks = iter((0.0, 6.0, 6.0, 6.0))
    target = DefendedTarget(gullible(), defence, cpu=lambda: next(ticks))
    first = target.rank([Ask(SHOP.listings, REQUEST, range(6))] * 2)
    target.rank([Ask(SHOP.listings, REQUEST, range(6))])
    assert defence.cleaned == 6
    assert all(one.cost.cpu_seconds >= 3.0 for one in first)


def test_a_defence_changes_texts_alone() -> None:
    with pytest.raises(ConfigError, match="changed the name"):
        DefendedTarget(gullible(), Renames()).clean(SHOP.listings[0])
