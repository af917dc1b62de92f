from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.stack import IsolatedTarget
from adwright.audit.found_texts import AttackPlan, ModelWeights, choosing_orders, find_texts
from adwright.audit.targets.target import DefendedTarget, FunctionTarget
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import KETTLES, kettles

SHOP = kettles()


class Same:
    name = "same"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing


def test_templates_and_controls_are_written_without_a_look() -> None:
    asked: list[str] = []
    target = stubborn(asked.append)
    texts = find_texts(SHOP, target, AttackPlan(products=("Teapot", "Samovar")))
    assert asked == []
    assert [one.product for one in texts] == ["Teapot"] * 9 + ["Samovar"] * 9
    tiers = [one.tier for one in texts[:9]]
    assert tiers == ["T0"] * 6 + ["control random", "control name", "control truthful"]
    assert len({one.run for one in texts[:6]}) == 6
    assert texts[0].text.startswith("people who drink 5 cups ")
    every = find_texts(SHOP, target, AttackPlan(tiers=("T0",)))
    assert {one.product for one in every} == set(KETTLES)


def test_searches_are_jobs_that_go_on(tmp_path: Path) -> None:
    plan = AttackPlan(("T1",), ("Steel Kettle",), runs=2, calls=60, orders=2, seed=5)
    texts = find_texts(SHOP, gullible(), plan, folder=tmp_path)
    assert [(one.tier, one.run) for one in texts] == [("T1", "5"), ("T1", "6")]
    assert {path.name for path in (tmp_path / "attacks").iterdir()} == {"T1-0-5", "T1-0-6"}
    assert any("best" in one.text for one in texts)
    asked: list[str] = []
    assert find_texts(SHOP, gullible(), plan, folder=tmp_path) == texts
    assert asked == []
    other = find_texts(SHOP, gullible(), AttackPlan(("T1",), ("Steel Kettle",), calls=12))
    assert [one.run for one in other] == ["0"]


def test_the_adaptive_search_goes_through_the_defence() -> None:
    plan = AttackPlan(("T4",), ("Steel Kettle",), calls=40, orders=2)
    (text,) = find_texts(SHOP, DefendedTarget(gullible(), Same()), plan)
    assert text.tier == "T4"
    with pytest.raises(ConfigError, match="T4 knows the defence"):
        find_texts(SHOP, gullible(), plan)


def test_attacks_by_gradient_need_weights() -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

    network = tiny_llama()
    network.config.max_position_embeddings = 2048
    few = SHOP.only((0, 1))
    plan = AttackPlan(("T2", "T3"), ("Steel Kettle",), calls=8, orders=1)
    with pytest.raises(ConfigError, match="T2 needs the weights"):
        find_texts(few, gullible(), plan)
    weights = ModelWeights(network, tiny_tokens(), "tiny")
    texts = find_texts(few, gullible(), plan, weights=weights)
    assert [one.tier for one in texts] == ["T2", "T3"]
    assert all(one.text.startswith("people who drink 1 cups") for one in texts)


class Wordless(Same):
    """Leaves no text."""

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.without_texts()


def test_with_weights_the_adaptive_attack_goes_by_gradient_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

    network = tiny_llama()
    network.config.max_position_embeddings = 2048
    weights = ModelWeights(network, tiny_tokens(), "tiny")
    few, plan = SHOP.only((0, 1)), AttackPlan(("T4",), ("Steel Kettle",), calls=20, orders=1)
    alone = DefendedTarget(IsolatedTarget(gullible()), Same())
    texts = find_texts(few, alone, plan, folder=tmp_path, weights=weights)
    assert [(one.tier, one.run) for one in texts] == [("T4", "0"), ("T4", "0 gradient")]
    jobs = {path.name for path in (tmp_path / "attacks").iterdir()}
    assert jobs == {"T4-0-0", "T4-gradient-0-0"}
    together = find_texts(few, DefendedTarget(gullible(), Same()), plan, weights=weights)
    assert together[1] != texts[1]
    deaf = DefendedTarget(gullible(), Wordless())
    (none,) = find_texts(few, deaf, plan, weights=weights)
    assert none.run == "0 without a text that gets through"


def test_attacks_need_a_catalogue_of_ones_own_and_its_products() -> None:
    with pytest.raises(ConfigError, match="not declared as your own"):
        find_texts(kettles(own=False), gullible(), AttackPlan())
    with pytest.raises(ConfigError, match="no such product"):
        find_texts(SHOP, gullible(), AttackPlan(products=("Pot",)))


def test_orders_that_attacks_choose_on_are_told() -> None:
    shown: list[tuple[str, ...]] = []

    def looks(listings: Sequence[ShopListing], request: str) -> list[str]:
        shown.append(tuple(one.name for one in listings))
        return [one.name for one in listings]

    plan = AttackPlan(("T1",), ("Steel Kettle",), runs=2, calls=60, orders=2, seed=5)
    find_texts(SHOP, FunctionTarget(looks, name="as shown"), plan)
    told = {tuple(SHOP.names[row] for row in one) for one in choosing_orders(plan, len(SHOP))}
    assert set(shown) <= told
    assert choosing_orders(AttackPlan(("T0", "control")), 6) == []
    assert len(choosing_orders(AttackPlan(("T2",)), 2)) == 2


def test_attacks_by_gradient_choose_on_told_orders_too() -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from adwright.audit.attacks.gradient import spread_orders

    told = set(choosing_orders(AttackPlan(("T2",), seed=3), 6))
    assert all(set(spread_orders(6, row, 3, 3)) <= told for row in range(6))


def test_a_search_with_too_few_calls_is_refused_and_finds_nothing_in_silence() -> None:
    few = AttackPlan(("T1",), ("Steel Kettle",), calls=3, orders=2)
    with pytest.raises(ConfigError, match="at least 4 calls"):
        find_texts(SHOP, gullible(), few)
    (text,) = find_texts(SHOP, gullible(), AttackPlan(("T1",), few.products, calls=4, orders=2))
    assert text.tier == "T1"
    assert find_texts(SHOP, gullible(), AttackPlan(("T0",), calls=1))


def test_plans_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="unknown tier 'T9'"):
        AttackPlan(("T0", "T9"))
    with pytest.raises(ConfigError, match="no tier"):
        AttackPlan(())
    for name in ("runs", "calls", "orders"):
        with pytest.raises(ConfigError, match="at least 1"):
            AttackPlan(**{name: 0})
