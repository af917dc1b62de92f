"""Weights by click rate against their formulas, one unit at a time."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.creative.lifetime.hazards.click_weights import ClickWeights

CLICKS = np.array([0, 1, 5, 30, 0, 200], np.float32)
SHOWN = np.array([10, 10, 100, 100, 0, 400], np.float32)


def _literal(by: str, alpha: float, n: float) -> list[float]:
    rates = [c / s for c, s in zip(CLICKS.tolist(), SHOWN.tolist(), strict=True) if s > 0]
    mean = sum(rates) / len(rates)
    found = []
    for c, s in zip(CLICKS.tolist(), SHOWN.tolist(), strict=True):
        rate = c / s if s > 0 else mean
        match by:
            case "ratio":
                found.append(rate / mean)
            case "clipped":
                found.append(min(max(1 + alpha * rate / mean, 0.5), 5))
            case "smoothed":
                a, b = mean * n, (1 - mean) * n
                found.append((c + a) / (s + a + b) / mean)
            case _:
                found.append(1.0)
    return found


@pytest.mark.parametrize("by", ["none", "ratio", "clipped", "smoothed"])
@pytest.mark.parametrize(("alpha", "n"), [(1.0, 50.0), (2.5, 8.0)])
def test_weights_are_the_literal_ones(by: str, alpha: float, n: float) -> None:
    weights = ClickWeights(by=by, alpha=alpha, shown=n)  # type: ignore[arg-type]
    found = weights.of(CLICKS, SHOWN, len(CLICKS))
    np.testing.assert_allclose(found, _literal(by, alpha, n), rtol=1e-6)


def test_what_the_mean_rate_counts_is_found_from_the_spread() -> None:
    """Rates drawn from a Beta distribution of a + b = 40."""
    rng = np.random.default_rng(0)
    shown = rng.integers(20, 200, 40_000)
    clicks = rng.binomial(shown, rng.beta(8, 32, 40_000))
    c, s = clicks.astype(np.float32), shown.astype(np.float32)
    found = ClickWeights("smoothed").of(c, s, len(c))
    near = ClickWeights("smoothed", shown=40.0).of(c, s, len(c))
    np.testing.assert_allclose(found, near, atol=0.02)


def test_rates_that_differ_by_chance_alone_are_taken_as_one() -> None:
    shown = np.full(5000, 100, np.float32)
    clicks = np.where(np.arange(5000) % 2, 10, 11).astype(np.float32)
    assert np.ptp(ClickWeights("smoothed").of(clicks, shown, 5000)) < 1e-3


def test_without_clicks_there_are_no_weights() -> None:
    with pytest.raises(ConfigError, match="no clicks"):
        ClickWeights("ratio").of(None, None, 3)
    np.testing.assert_array_equal(ClickWeights().of(None, None, 3), np.ones(3))


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_counts_that_are_none_are_refused(wrong: float) -> None:
    clicks = CLICKS.copy()
    clicks[2] = wrong
    with pytest.raises(ValueInvalidError, match="row 2, column clicks"):
        ClickWeights("ratio").of(clicks, SHOWN, len(clicks))


def test_where_nobody_clicked_all_count_alike(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        found = ClickWeights("ratio").of(np.zeros(4, np.float32), np.ones(4, np.float32), 4)
    np.testing.assert_array_equal(found, np.ones(4))
    assert "no unit was clicked" in caplog.text


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"shown": -1.0}, {"by": "rate"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ClickWeights(**wrong)  # type: ignore[arg-type]
