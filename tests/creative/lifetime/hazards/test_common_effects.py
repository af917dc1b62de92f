"""What periods have in common: centred over the units, and absorbed in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from adwright.creative.lifetime.hazards.common_effects import CommonEffects
from adwright.creative.lifetime.hazards.fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.hazards.network import SurvivalConfig
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.spell_table import SpellTable
from tests.support.data.small_spells import small_spells


def _weeks(starts: list[int]) -> SpellTable:
    return replace(small_spells(len(starts)), start=np.array(starts, np.int32))


def test_each_period_has_its_own_and_their_mean_is_nothing() -> None:
    effects = CommonEffects(_weeks([3, 3, 3, 7, 7, 9]), (2, 1), min_count=2)
    assert [tuple(table.shape) for table in effects.tables] == [(2, 2), (2, 1)]
    with torch.no_grad():
        effects.tables[0].copy_(torch.tensor([[1.0, -2.0], [4.0, 5.0]]))
    found = effects(torch.arange(6))
    assert found is not None
    mean = torch.tensor([(3 * 1 + 2 * 4) / 6, (3 * -2 + 2 * 5) / 6])
    # Week 9 has one unit alone, and so no effect but for the centring.
    rows = [[1.0, -2.0]] * 3 + [[4.0, 5.0]] * 2 + [[0.0, 0.0]]
    torch.testing.assert_close(found[0], torch.tensor(rows) - mean)
    torch.testing.assert_close(found[0].mean(0), torch.zeros(2), atol=1e-6, rtol=0)


def test_one_period_has_nothing_of_its_own() -> None:
    assert CommonEffects(_weeks([5] * 8), (3,), min_count=2)(torch.arange(8)) is None
    assert len(CommonEffects(_weeks([1, 2, 3]), (3,), min_count=2)) == 0


def test_a_bad_week_is_not_blamed_on_what_was_sold_in_it() -> None:
    """Blue ones live as red ones do, but most were there in a week in which all ended soon."""
    rng = np.random.default_rng(0)
    units = 3000
    bad = rng.random(units) < 0.5
    blue = rng.random(units) < np.where(bad, 0.9, 0.1)
    life = rng.geometric(np.where(bad, 0.8, 0.2)).astype(np.float32)
    table = replace(
        small_spells(units),
        time=np.minimum(life, 6),
        cause=(life <= 6).astype(np.int8),
        categories=blue.astype(np.int32)[:, None],
        start=bad.astype(np.int32),
    )
    config = LifetimeConfig(
        terms=LifeTerms((0.0, 1.0, 2.0), (0.0, 2.0, 6.0)),
        network=SurvivalConfig(hidden=(8,), width=4),
        leave_out=("numbers", "words"),
        epochs=30,
        learning_rate=0.01,
    )

    def gap(common: bool) -> float:
        model = fit_lifetime(table, None, replace(config, common_effects=common))
        first = model.predict(table).hazard[:, 0, 0]
        return float(first[blue].mean() - first[~blue].mean())

    assert gap(common=False) > 0.4
    assert abs(gap(common=True)) < 0.1
