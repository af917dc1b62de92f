"""Krippendorff's alpha: his published example, his definition read aloud, and what cannot be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.text.agreement import krippendorff_alpha

NONE = np.nan
#: "Computing Krippendorff's Alpha-Reliability" (2011), part C: four observers, twelve units.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def literal(table: np.ndarray, scale: str) -> float:
    """1 - mean difference of pairs within units / mean difference of all pairs of values."""
    units = [[v for v in column if not np.isnan(v)] for column in table.T]
    units = [unit for unit in units if len(unit) >= 2]
    every = [value for unit in units for value in unit]

    def difference(c: float, k: float) -> float:
        if scale == "nominal":
            return float(c != k)
        if scale == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        between = sum(low <= value <= high for value in every)
        return (between - (every.count(c) + every.count(k)) / 2) ** 2 if c != k else 0.0

    observed = sum(
        sum(difference(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    )
    expected = sum(difference(c, k) for c, k in permutations(every, 2)) / (len(every) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("scale", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example(scale: str, published: float, rng: np.random.Generator) -> None:
    found = krippendorff_alpha(PUBLISHED, scale=scale, rng=rng)
    assert found.alpha is not None
    assert round(found.alpha.value, 3) == published
    assert found.alpha.low <= published <= found.alpha.high
    # The last unit has one observer.
    assert (found.units, found.values) == (11, 40)
    assert found.text().startswith(f"{published:.3f} (")


@settings(max_examples=40)
@given(
    st.integers(2, 4).flatmap(
        lambda raters: st.lists(
            st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, NONE]), min_size=raters, max_size=raters),
            min_size=2,
            max_size=8,
        )
    ),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_equals_the_definition(units: list[list[float]], scale: str) -> None:
    table = np.array(units).T
    paired = table[:, (~np.isnan(table)).sum(0) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return
    found = krippendorff_alpha(table, scale=scale, rng=np.random.default_rng(0), draws=50)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(literal(table, scale), abs=1e-9)


def test_agreement_in_everything_is_one_and_the_order_of_raters_is_nothing(
    rng: np.random.Generator,
) -> None:
    same = np.tile([1.0, 2, 3, 1, 2], (3, 1))
    found = krippendorff_alpha(same, scale="ordinal", rng=rng)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(1)
    turned = krippendorff_alpha(PUBLISHED[::-1], scale="ordinal", rng=np.random.default_rng(1))
    again = krippendorff_alpha(PUBLISHED, scale="ordinal", rng=np.random.default_rng(1))
    assert turned == again


def test_draws_and_confidence_change_the_interval() -> None:
    def width(**options: float) -> float:
        rng = np.random.default_rng(0)
        found = krippendorff_alpha(PUBLISHED, scale="nominal", rng=rng, **options)
        assert found.alpha is not None
        return found.alpha.width

    assert width(confidence=0.5) < width() != width(draws=100)


def test_one_value_says_nothing_of_agreement(rng: np.random.Generator) -> None:
    found = krippendorff_alpha(np.ones((3, 4)), scale="nominal", rng=rng)
    assert found.alpha is None
    assert "the same" in found.text()


@pytest.mark.parametrize(
    ("table", "scale", "error"),
    [
        ([[1, 2], [NONE, NONE]], "nominal", DataError),
        ([1, 2, 3], "nominal", ValueInvalidError),
        ([[1, np.inf], [1, 2]], "nominal", ValueInvalidError),
        ([np.arange(70), np.arange(70)], "nominal", ValueInvalidError),
        ([[1, 2], [1, 2]], "ratio", ConfigError),
    ],
)
def test_what_cannot_be_judged(
    table: list[object], scale: str, error: type[Exception], rng: np.random.Generator
) -> None:
    with pytest.raises(error):
        krippendorff_alpha(table, scale=scale, rng=rng)
