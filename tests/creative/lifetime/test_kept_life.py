"""What is kept of a record: the pooled life where nothing predicts, else what predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.errors import SchemaError
from adwright.creative.lifetime.kept_life import (
    BY_AGE,
    FEW,
    NETWORK,
    POOLED,
    HazardRule,
    KeptLife,
    concordance_of,
)
from adwright.creative.lifetime.lives import DeliveryLives, DeliverySpellConfig
from adwright.creative.lifetime.retire import train_retirement
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_list import RetirementList, retirement_list
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_fit import LifetimeConfig
from adwright.creative.lifetime.survival_network import InputSpec, LifeTerms
from adwright.metrics.survival import harrell_c
from benchmarks.strangers._drawn_lives import drawn_ads
from tests.support.data.small_life_log import SmallLives

TERMS = LifeTerms(short=(0.0, 1.0, 3.0), long=(0.0, 3.0, 8.0, 20.0))


def _lives(times: float, seed: int) -> DeliveryLives:
    days = drawn_ads(seed, ads=300, days=120, times=times).rename({"date": "day"})
    return DeliveryLives(days, DeliverySpellConfig(unit_of="ad"))


def _kept(times: float, seed: int, folder: Path) -> tuple[KeptLife, RetirementList]:
    lives = _lives(times, seed)
    trained = train_retirement(lives, folder, LifetimeConfig(epochs=1))
    found = retirement_list(trained.model, lives, values=trained.values)
    return trained.model, found


def test_where_nothing_predicts_every_ad_has_the_pooled_life(tmp_path: Path) -> None:
    kept, found = _kept(1.0, 3, tmp_path)
    assert kept.choice["kept"] == "nothing"
    assert not kept.parts
    assert not kept.reads
    assert found.text().startswith("nothing here predicts this: of ")
    assert "every ad has the pooled life: half of what runs ends within 2" in kept.sentences()[1]
    units = found.units
    # Half of what runs is gone after 23 days, at any age.
    assert units["left"].n_unique() <= 2
    assert abs(float(units["ends"].mean()) - float(units["ends"].max())) < 1e-6
    assert "refresh" not in units["action"].to_list()
    assert units["cause"].null_count() == len(units)
    for name in ("why", "like"):
        assert not [one for one in units[name].drop_nulls().to_list() if len(one)]


def test_a_feature_that_doubles_the_hazard_is_found(tmp_path: Path) -> None:
    kept, found = _kept(3.0, 1, tmp_path)
    assert kept.choice["kept"] != "nothing"
    low, high = kept.choice["told"][1:]
    assert low < 0.62 < high
    assert "format" in kept.reads
    reasons = found.units["why"].explode().drop_nulls().to_list()
    assert any(one.startswith(("format video: -", "format image: +")) for one in reasons)
    old = found.units.filter(cause="wear-out")
    assert len(old) < len(found.units)


def test_the_pooled_rule_is_ends_by_periods(drawn_lives: SmallLives) -> None:
    table = drawn_lives.history(15)
    rule = HazardRule.fit(POOLED, table, TERMS)
    known = table.time > table.entry + 0.75
    share = (table.ended & (table.time <= table.entry + 1))[known].mean()
    assert 1 / (1 + np.exp(-rule.level)) == pytest.approx(share, rel=1e-4)
    curves = rule.predict(table)
    np.testing.assert_allclose(curves.hazard[:, 0, 0], share, rtol=1e-4)
    assert rule.reads == ()


def test_few_columns_are_those_that_tell(drawn_lives: SmallLives) -> None:
    table = drawn_lives.history(15)
    spec = InputSpec.fit(table, leave_out=("words",))
    rule = HazardRule.fit(FEW, table, TERMS, spec)
    assert "colour" in rule.reads  # of which one ends much sooner
    left = rule.predict(table).remaining()
    red = table.categories[:, 0] == 0
    assert np.median(left[red]) + 1 < np.median(left[~red])


def test_a_mixture_lies_between_its_parts_and_is_kept(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, tmp_path: Path
) -> None:
    table = drawn_lives.history(15)
    terms = drawn_model.terms
    pooled, by_age = (HazardRule.fit(name, table, terms) for name in (POOLED, BY_AGE))
    parts = {BY_AGE: (0.5, by_age), NETWORK: (0.5, drawn_model)}
    kept = KeptLife(pooled, parts, {"kept": "mixture", "exceeds": 0.0}, {"before": 15})
    one, other = by_age.predict(table), drawn_model.predict(table)
    for mixed, first, second in zip(kept.predict(table).steps, one.steps, other.steps, strict=True):
        np.testing.assert_allclose(mixed, -np.sqrt(first * second), rtol=1e-3, atol=1e-6)
    kept.save(tmp_path / "model", tmp_path / "network")
    opened = KeptLife.load(load_artifact(tmp_path / "model"), tmp_path / "network")
    np.testing.assert_array_equal(opened.predict(table).survival, kept.predict(table).survival)
    assert opened.digest() == kept.digest()
    assert opened.reads == drawn_model.reads
    with pytest.raises(SchemaError, match="another unit"):
        kept.predict(replace(table, unit="day"))


def test_pairs_are_those_of_harrell(drawn_lives: SmallLives) -> None:
    table: SpellTable = drawn_lives.history(15)
    left, ended = (table.time - table.entry).astype(float), table.ended
    risk = np.random.default_rng(0).integers(0, 9, len(table)).astype(float)
    told = concordance_of(left, ended)(np.arange(len(table)), risk)
    found = harrell_c(left, ended, risk)
    assert told.above.sum() / told.below.sum() == pytest.approx(found.value)
