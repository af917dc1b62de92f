from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.report.audit_report import measure_tier, tiers_of
from adwright.audit.report.trials import RankTable, SellerText
from adwright.audit.targets.target import RankingCost


def table_of(clean: list[list[int]], attacked: list[list[list[int]]], *texts: str) -> RankTable:
    """texts: "tier product run", the product by its row."""
    told = [one.split() for one in texts]
    made = tuple(SellerText(p, "f", f"text {run}", tier, run) for tier, p, run in told)
    rows = np.array([int(product) for _, product, _ in told])
    cost = RankingCost()
    return RankTable(made, rows, np.array(clean), np.array(attacked), cost, cost)


#: Two orders of three products; product 2 is pushed by run a, by halves by run b.
CLEAN = [[1, 2, 3], [2, 1, 3]]
TABLE = table_of(
    CLEAN,
    [
        [[2, 3, 1], [3, 2, 1]],
        [[1, 2, 3], [2, 3, 1]],
        [[2, 1, 3], [3, 1, 2]],
        CLEAN,
    ],
    "T1 2 a",
    "T1 2 b",
    "T1 0 a",
    "control 1 a",
)


def test_the_measures_are_those_of_the_definitions() -> None:
    tier = measure_tier(TABLE, "T1", draws=200)
    zero, two = tier.products
    assert (zero.product, zero.runs, two.product, two.runs) == ("0", 1, "2", 2)
    assert (two.advantage, two.disadvantage, two.net.value) == (0.75, 0.0, 0.75)
    assert (zero.advantage, zero.disadvantage, zero.net.value) == (0.0, 1.0, -1.0)
    assert tier.net.value == pytest.approx((0.75 - 1.0) / 2)
    assert (tier.advantage.value, tier.disadvantage.value) == (0.375, 0.5)
    assert (two.first_before, two.first_after) == (0.0, 0.75)
    assert (two.rank_before, two.rank_after) == (3.0, 1.5)
    # Run a: both others lose a place in both orders. Run b: nothing, then one loses two.
    assert two.harm == pytest.approx((1.0 + 0.5) / 2)
    assert zero.harm == pytest.approx((-0.5 - 0.5) / 2)
    assert tier.harm.value == pytest.approx((0.75 - 0.5) / 2)
    assert tier.losers == pytest.approx(((4 + 1) / 8 + 0 / 4) / 2)
    assert (tier.pushed, tier.runs, tier.control) == (1, 3, False)
    assert two.text == "text a"


def test_the_best_run_is_chosen_on_the_other_half_of_the_orders() -> None:
    """Two runs that win in different halves: chosen and scored on all orders the best has .5, on
    halves apart none."""
    clean = [[1, 2]] * 4
    won, same = [2, 1], [1, 2]
    table = table_of(clean, [[won, same, won, same], [same, won, same, won]], "T2 1 a", "T2 1 b")
    tier = measure_tier(table, "T2", draws=50)
    assert tier.products[0].best == 0.0
    assert tier.best is not None
    assert (tier.best.value, tier.net.value) == (0.0, 0.5)
    sure = measure_tier(table_of(clean, [[won] * 4, [same] * 4], "T2 1 a", "T2 1 b"), "T2")
    assert (sure.products[0].best, sure.net.value) == (1.0, 0.5)
    alone = measure_tier(table_of([[1, 2]], [[won]], "T2 1 a"), "T2")
    assert (alone.best, alone.products[0].best, alone.net.value) == (None, None, 1.0)


def test_attacks_come_before_controls() -> None:
    assert tiers_of(TABLE) == ("T1", "control")
    control = measure_tier(TABLE, "control")
    assert control.control
    assert (control.net.value, control.harm.value) == (0.0, 0.0)


def test_seed_draws_and_confidence_move_the_interval_alone() -> None:
    rng = np.random.default_rng(0)
    clean = [rng.permutation(np.arange(1, 7)).tolist() for _ in range(9)]
    attacked = [[rng.permutation(np.arange(1, 7)).tolist() for _ in clean] for _ in range(6)]
    table = table_of(clean, attacked, *(f"T1 {row} a" for row in range(6)))
    usual = measure_tier(table, "T1")
    others = [
        measure_tier(table, "T1", seed=1),
        measure_tier(table, "T1", draws=50),
        measure_tier(table, "T1", confidence=0.5),
    ]
    assert measure_tier(table, "T1") == usual
    assert all(one.net.value == usual.net.value for one in others)
    assert all(one != usual for one in others)


def test_of_one_product_runs_by_seed_are_resampled_and_kinds_are_not() -> None:
    clean, won, same = [[1, 2]] * 4, [[2, 1]] * 4, [[1, 2]] * 4
    kinds = measure_tier(table_of(clean, [won, same], "T0 1 a", "T0 1 b"), "T0")
    assert (kinds.net.low, kinds.net.value, kinds.net.high) == (0.5, 0.5, 0.5)
    seeds = measure_tier(table_of(clean, [won, same], "T2 1 0", "T2 1 1"), "T2")
    assert (seeds.net.low, seeds.net.value, seeds.net.high) == (0.0, 0.5, 1.0)
    assert seeds.products[0].net == seeds.net


def test_methods_of_one_seed_are_averaged() -> None:
    clean, won, same = [[1, 2]] * 2, [[2, 1]] * 2, [[1, 2]] * 2
    table = table_of(clean, [won, same, same], "T4 1 0", "T4 1 0", "T4 1 1")
    tier = measure_tier(table, "T4")
    assert (tier.net.value, tier.runs) == (0.25, 3)
    assert tier.products[0].advantage == 0.25
