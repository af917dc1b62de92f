from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.defences.stack import DefenceStack, StackConfig
from adwright.audit.targets.target import FunctionTarget
from adwright.audit.watch import CatalogueWatch, WatchConfig
from adwright.core.errors import ConfigError, DataError
from tests.support.audit.defended import kettles

SHOP = ShopCatalogue("kettles", "I want a kettle.", kettles())
STACK = DefenceStack(StackConfig(guard=False))


def by_name(listings: Sequence[ShopListing], request: str) -> list[float]:
    """Exclamation marks count, and then the name, whatever the order."""
    return [one.shown().count("!") - ord(one.name[0]) / 100 for one in listings]


TARGET = FunctionTarget(by_name, name="shouted")


def changed(row: int, text: str, shop: ShopCatalogue = SHOP) -> ShopCatalogue:
    return shop.with_listing(row, shop.listings[row].with_text("Description", text))


def watch(path: Path, config: WatchConfig | None = None) -> CatalogueWatch:
    return CatalogueWatch(path / "kettles.json", STACK, target=TARGET, config=config)


def test_only_what_changed_is_looked_at(tmp_path: Path) -> None:
    first = watch(tmp_path).look(SHOP)
    assert (first.first, len(first.alerts), first.cost.calls) == (True, 3, 5)
    again = watch(tmp_path).look(SHOP)
    assert (again.first, again.alerts) == (False, ())
    assert again.text() == "kettles: 4 products, 0 texts changed, 0 suspicious"


def test_a_text_that_moves_a_rank_is_listed(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    report = watch(tmp_path).look(changed(2, "Mine!"))
    (one,) = report.suspicious
    assert (one.edit.name, one.with_before, one.with_after, one.gain) == ("Gamma", 4.0, 1.0, 3.0)
    assert report.cost.calls == 10
    mild = watch(tmp_path, WatchConfig(least_gain=9)).look(changed(2, "Mine!!"))
    assert (len(mild.alerts), mild.suspicious) == (1, ())


def test_each_change_is_ranked_by_itself(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    both = changed(2, "Mine!", changed(0, "Quiet."))
    gains = {one.edit.name: one.gain for one in watch(tmp_path).look(both).alerts}
    assert gains == {"Alpha": 0.0, "Gamma": 3.0}


def test_hidden_text_comes_first_and_ranking_can_be_bounded(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    both = changed(2, "Fine.<!-- first -->", changed(0, "Quiet."))
    report = watch(tmp_path, WatchConfig(most_ranked=1, orders=2)).look(both)
    assert [one.edit.name for one in report.alerts] == ["Gamma", "Alpha"]
    assert report.alerts[0].with_after is not None
    assert report.alerts[1].with_after is None
    assert report.cost.calls == 4


def test_products_that_come_and_go(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    other = replace(kettles()[0], name="Epsilon")
    now = ShopCatalogue("kettles", "I want a kettle.", (*kettles()[1:], other))
    report = watch(tmp_path).look(now)
    assert report.gone == ("Alpha",)
    assert [one.edit.name for one in report.alerts] == ["Epsilon"]


def test_without_a_target_texts_are_inspected_only(tmp_path: Path) -> None:
    plain = CatalogueWatch(tmp_path / "k.json", STACK)
    plain.look(SHOP)
    (one,) = plain.look(changed(0, "Fine.<!-- first -->")).suspicious
    assert one.with_before is None


def test_a_look_that_fails_was_none(tmp_path: Path) -> None:
    def broken(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise OSError("gone")

    watch(tmp_path).look(SHOP)
    before = (tmp_path / "kettles.json").read_bytes()
    fails = CatalogueWatch(
        tmp_path / "kettles.json", STACK, target=FunctionTarget(broken, name="broken")
    )
    with pytest.raises(DataError, match="the function failed"):
        fails.look(changed(2, "Mine!"))
    assert (tmp_path / "kettles.json").read_bytes() == before
    assert len(watch(tmp_path).look(changed(2, "Mine!")).suspicious) == 1
    assert not [one for one in os.listdir(tmp_path) if one.endswith(".tmp")]


def test_two_products_have_two_orders(tmp_path: Path) -> None:
    pair = ShopCatalogue("pair", "?", kettles()[:2])
    assert CatalogueWatch(tmp_path / "p.json", STACK, target=TARGET).look(pair).cost.calls == 2


def test_wrong_files_and_settings_are_refused(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    with pytest.raises(ConfigError, match="the state is of the catalogue 'kettles'"):
        watch(tmp_path).look(replace(SHOP, name="lamps"))
    with pytest.raises(ConfigError, match="least_gain is above 0"):
        WatchConfig(least_gain=0)
    with pytest.raises(ConfigError, match="orders"):
        WatchConfig(orders=0)
