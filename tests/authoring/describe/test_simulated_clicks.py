"""Simulated clicks: by the formula, and never without that word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adwright.authoring.describe.clicks import (
    SimulatedClickConfig,
    expected_clicks,
    simulate_clicks,
)
from adwright.authoring.describe.search import INDEXES, DescriptionSearch
from adwright.core.errors import ConfigError


def test_equals_the_formula() -> None:
    config = SimulatedClickConfig(decay=0.7, floor=0.1, highest=2)
    shown = [2, 0, math.nan, 1]
    want = sum(
        rank**-0.7 * (0.1 + 0.9 * (2**grade - 1) / 4)
        for rank, grade in enumerate(shown, start=1)
        if not math.isnan(grade)
    )
    assert expected_clicks(shown, config) == pytest.approx(want)


def test_equals_clicks_that_are_drawn() -> None:
    config, rng = SimulatedClickConfig(floor=0.2), np.random.default_rng(0)
    grades = np.array([3.0, 0, 1])
    looked = rng.random((200_000, 3)) < np.arange(1, 4) ** -1.0
    liked = rng.random((200_000, 3)) < 0.2 + 0.8 * (2**grades - 1) / 8
    assert (looked & liked).sum(1).mean() == pytest.approx(
        expected_clicks(grades, config), abs=0.01
    )


def result() -> DescriptionSearch:
    rng = np.random.default_rng(1)
    better = np.tile([3.0, 1, 0], (1, 40, 1))
    worse = rng.permuted(np.tile([0.0, 1, 0], (1, 40, 1)), axis=2)
    of = {"title": worse, "original": worse, "written": np.concatenate([better] * 2)}
    grades = {("words", index): of.get(index, better) for index in INDEXES}
    return DescriptionSearch((), 3, 40, 0, (40,), ((),), 0, 0, 0, grades)


def test_better_lists_get_more_clicks_and_are_called_simulated() -> None:
    (found,) = simulate_clicks(result())
    assert found.simulated
    assert found.ranker == "words"
    assert found.leads["written"].low > 0
    assert found.leads["title"].value == 0
    assert found.clicks["written"].seeds == 2
    assert found.clicks["original"].seeds == 0
    assert "original" not in found.leads


@pytest.mark.parametrize(
    "change",
    [
        {"decay": 0.0},
        {"floor": 0.3},
        {"highest": 5},
        {"draws": 20},
        {"confidence": 0.5},
        {"seed": 4},
    ],
)
def test_settings_change_the_clicks(change: dict[str, Any]) -> None:
    assert simulate_clicks(result(), SimulatedClickConfig(**change)) != simulate_clicks(result())


@pytest.mark.parametrize(
    "change",
    [{"decay": -1.0}, {"floor": 1.0}, {"highest": 0}, {"draws": 0}, {"confidence": 0.0}],
)
def test_other_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SimulatedClickConfig(**change)


def test_a_grade_above_the_highest_is_refused() -> None:
    with pytest.raises(ConfigError, match="above the highest"):
        expected_clicks([4.0], SimulatedClickConfig())
