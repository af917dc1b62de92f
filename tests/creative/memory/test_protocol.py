from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.memory.ad_blocks import AdBlocks, BlockConfig
from adwright.creative.memory.outcomes import RecallTable, read_recall
from adwright.creative.memory.protocol import cross_fitted, measure_memory, rho_interval
from adwright.creative.records.verbal.record import AdRecord
from adwright.metrics.rank_correlation import spearman

Blocks = dict[str, np.ndarray]


def made(brands: int = 30, each: int = 4, seed: int = 0) -> tuple[RecallTable, Blocks]:
    rng = np.random.default_rng(seed)
    groups, rows = np.repeat(np.arange(brands), each), brands * each
    surface = rng.normal(size=(rows, 2)).astype(np.float32)
    targets = 1.5 * rng.normal(size=brands)[groups] + surface[:, 0] + 0.3 * rng.normal(size=rows)
    ads = tuple(AdRecord(brand=f"b{one}", title="t") for one in groups)
    ids = tuple(map(str, range(rows)))
    return RecallTable(ids, ads, 1 / (1 + np.exp(-targets)), targets), {"surface": surface}


def test_no_ad_is_judged_by_what_saw_its_fold() -> None:
    table, blocks = made()
    found = cross_fitted(table, blocks)
    # A target that no fold but its own could know moves nothing of its brand's prediction.
    moved = table.targets.copy()
    moved[table.groups == 3] += 5
    other = RecallTable(table.ids, table.records, table.scores, moved)
    same = cross_fitted(other, blocks)
    own = table.groups == 3
    np.testing.assert_allclose(same.value[own], found.value[own], atol=1e-9)
    seen = cross_fitted(table, blocks, split="brands_seen")
    assert spearman(seen.value, table.targets) > spearman(found.value, table.targets) + 0.1
    assert not np.allclose(cross_fitted(table, blocks, seed=1).value, found.value)
    assert not np.allclose(cross_fitted(table, blocks, folds=3).value, found.value)


def test_the_report_tells_brand_and_content_apart() -> None:
    table, blocks = made()
    report = measure_memory(table, blocks, rng=np.random.default_rng(0), draws=60, seeds=(0, 1))
    assert (report.ads, report.brands, report.seeds) == (120, 30, (0, 1))
    assert report.brands_seen.value > report.brands_out.value > report.brand_rho.value
    assert report.content_lift.value > 0.7
    assert 0.4 < report.brand_share < 0.9
    assert report.brands_out.low < report.brands_out.value < report.brands_out.high


def test_one_ad_a_brand_makes_both_kinds_of_folds_one() -> None:
    table, blocks = made(brands=60, each=1)
    report = measure_memory(table, blocks, rng=np.random.default_rng(0), draws=30, seeds=(0,))
    assert report.brands_seen.value == report.brands_out.value
    assert report.brand_share < 0.05


def test_an_interval_draws_brands_and_not_ads() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)
    groups = np.repeat(np.arange(40), 8)
    predicted = base[groups][None] + 0.01 * rng.normal(size=(1, 320))
    found = (base + rng.normal(size=40))[groups]
    by_brand = rho_interval(predicted, found, groups, np.random.default_rng(1), draws=200)
    by_ad = rho_interval(predicted, found, np.arange(320), np.random.default_rng(1), draws=200)
    assert by_brand.value == pytest.approx(spearman(predicted[0], found))
    assert by_brand.high - by_brand.low > 1.7 * (by_ad.high - by_ad.low)
    narrow = rho_interval(
        predicted, found, groups, np.random.default_rng(1), draws=200, confidence=0.5
    )
    assert narrow.high - narrow.low < by_brand.high - by_brand.low


def test_a_prediction_that_never_varies_has_no_rank() -> None:
    found = rho_interval(
        np.ones((2, 9)), np.arange(9.0), np.arange(9), np.random.default_rng(0), draws=20
    )
    assert (found.value, found.low, found.high, found.seeds) == (0, 0, 0, 2)


def test_what_cannot_be_measured_is_refused() -> None:
    table, blocks = made(brands=4)
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="4 brands cannot stand in 5 folds"):
        measure_memory(table, blocks, rng=rng)
    with pytest.raises(DataError, match="need a seed"):
        measure_memory(table, blocks, rng=rng, seeds=())
    with pytest.raises(ConfigError, match="draws"):
        measure_memory(table, blocks, rng=rng, draws=0)


def test_real_slogans_by_hashed_words(shared_data: Path) -> None:
    table = read_recall(shared_data / "slogans" / "slogans.csv")
    blocks = AdBlocks(BlockConfig("hashed", language="")).of(table.records)
    found = cross_fitted(table, blocks).value
    assert 0.25 < spearman(found, table.targets) < 0.7
