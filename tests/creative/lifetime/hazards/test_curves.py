"""One curve from two heads: against literal sums and products, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.terms import LifeTerms

#: The short head ends in the midst of the long one's second bin.
TERMS = LifeTerms(short=(1.0, 2.0, 4.0, 6.0), long=(1.0, 3.0, 9.0, 20.0))
#: Of all units, what has ended by the edges of their curve.
TYPICAL = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9)
#: It ends at an edge of the long one.
EVEN = LifeTerms(short=(0.0, 2.0, 4.0), long=(0.0, 4.0, 8.0))


def _curves(
    terms: LifeTerms = TERMS, units: int = 40, causes: int = 1, entry: float | None = 0.0
) -> LifeCurves:
    rng = np.random.default_rng(0)
    steps = tuple(
        np.log1p(-rng.uniform(0.01, 0.6, (units, len(edges) - 1))).astype(np.float32)
        for edges in terms.heads
    )
    shares = None
    if causes > 1:
        shares = tuple(
            rng.dirichlet(np.ones(causes), step.shape).astype(np.float32) for step in steps
        )
    ages = rng.uniform(0, 12, units) if entry is None else np.full(units, entry)
    names = tuple(f"cause {c}" for c in range(causes))
    return LifeCurves(terms, names, ages.astype(np.float32), steps, shares)


def _head(edges: tuple[float, ...], steps: np.ndarray, age: float) -> float:
    """S(age) of one head alone: log S is straight inside a bin."""
    log_s = 0.0
    for left, right, step in zip(edges, edges[1:], steps.tolist(), strict=False):
        log_s += step * min(max((age - left) / (right - left), 0), 1)
    return math.exp(log_s)


def _literal(curves: LifeCurves, unit: int, age: float) -> float:
    """S(age) of the one curve, not given entry."""
    terms, last = curves.terms, curves.terms.short[-1]
    short = curves.steps[0][unit]
    if age <= last or not terms.long:
        return _head(terms.short, short, age)
    long = curves.steps[1][unit]
    beyond = _head(terms.long, long, age) / _head(terms.long, long, last)
    return _head(terms.short, short, last) * beyond


@pytest.mark.parametrize("terms", [TERMS, EVEN, TERMS.one_head])
@pytest.mark.parametrize("entry", [0.0, 3.5, None])
def test_the_curve_is_the_literal_one(terms: LifeTerms, entry: float | None) -> None:
    curves = _curves(terms, entry=entry)
    ages = [0.0, 1.0, 1.5, 4.0, 5.0, 7.5, 8.0]
    found, at_edges = curves.at(ages), curves.survival
    for unit, begun in enumerate(curves.entry.tolist()):
        alive = _literal(curves, unit, begun)
        for k, age in enumerate(ages):
            wanted = 1.0 if age <= begun else _literal(curves, unit, age) / alive
            assert found[unit, k] == pytest.approx(wanted, rel=1e-5)
        for k, edge in enumerate(terms.joined):
            wanted = 1.0 if edge <= begun else _literal(curves, unit, edge) / alive
            assert at_edges[unit, k] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("terms", [TERMS, EVEN, TERMS.one_head])
def test_curves_never_rise(terms: LifeTerms) -> None:
    curves = _curves(terms, entry=None)
    assert (curves.survival[:, 0] == 1).all()
    assert (np.diff(curves.survival, axis=1) <= 0).all()
    ages = np.linspace(0, terms.joined[-1], 200).astype(np.float32)
    assert (np.diff(curves.at(ages), axis=1) <= 1e-6).all()
    np.testing.assert_array_equal(curves.edges, terms.joined)


@pytest.mark.parametrize("causes", [1, 3])
@pytest.mark.parametrize("entry", [0.0, None])
def test_incidence_is_the_literal_sum(causes: int, entry: float | None) -> None:
    curves = _curves(causes=causes, entry=entry)
    assert curves.incidence.shape == (40, len(curves.edges), causes)
    joined = curves.terms.joined
    for unit in range(40):
        sums = [0.0] * causes
        for t in range(1, len(joined)):
            # Of the short head's three bins first, then the long one's second and third.
            head, bin_ = (0, t - 1) if t <= 3 else (1, t - 3)
            fallen = float(curves.survival[unit, t - 1] - curves.survival[unit, t])
            for c in range(causes):
                share = 1.0 if curves.shares is None else float(curves.shares[head][unit, bin_, c])
                sums[c] += fallen * share
                assert curves.incidence[unit, t, c] == pytest.approx(sums[c], abs=1e-6)
    np.testing.assert_allclose(curves.incidence.sum(2), 1 - curves.survival, atol=1e-6)


@pytest.mark.parametrize("causes", [1, 2])
def test_hazards_are_of_each_bin_once_it_is_reached(causes: int) -> None:
    curves = _curves(EVEN, causes=causes)
    s = curves.survival
    np.testing.assert_allclose(curves.hazard.sum(2), 1 - s[:, 1:] / s[:, :-1], atol=1e-5)
    fallen = np.diff(curves.incidence, axis=1)
    np.testing.assert_allclose(curves.hazard * s[:, :-1, None], fallen, atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("entry", [0.0, 3.5, None])
def test_so_great_a_share_has_ended_by_the_quantile(share: float, entry: float | None) -> None:
    curves = _curves(entry=entry)
    left = curves.remaining(share)
    for unit in range(len(curves)):
        one = curves.take(np.array([unit]))
        if np.isinf(left[unit]):
            assert one.survival[0, -1] > 1 - share
        else:
            age = float(curves.entry[unit] + left[unit])
            assert float(one.at([min(age, 20.0)])[0, 0]) == pytest.approx(1 - share, abs=1e-4)
    assert np.isfinite(left).any() or (share, entry) == (0.9, 3.5)


def test_risks_are_minus_the_mean_time_lived_in_the_term() -> None:
    curves = _curves()
    for unit in range(len(curves)):
        for term, edges in (("short", TERMS.short), ("all", TERMS.joined)):
            s = [_literal(curves, unit, edge) for edge in edges]
            area = sum((s[i] + s[i + 1]) / 2 * (edges[i + 1] - edges[i]) for i in range(len(s) - 1))
            assert curves.risk(term)[unit] == pytest.approx(-area, rel=1e-5)  # type: ignore[arg-type]
        s = [_head(TERMS.long, curves.steps[1][unit], edge) for edge in TERMS.long]
        area = (s[0] + s[1]) + (s[1] + s[2]) * 3 + (s[2] + s[3]) * 5.5
        assert curves.risk("long")[unit] == pytest.approx(-area, rel=1e-5)


@pytest.mark.parametrize("until", [0.5, 2.0, 5.0, 7.0, 20.0])
def test_risks_may_end_at_any_age(until: float) -> None:
    curves = _curves()
    edges = [edge for edge in TERMS.joined if edge < until] + [until]
    found = curves.risk(until=until)
    for unit in range(len(curves)):
        s = [_literal(curves, unit, edge) for edge in edges]
        area = sum((s[i] + s[i + 1]) / 2 * (edges[i + 1] - edges[i]) for i in range(len(s) - 1))
        assert found[unit] == pytest.approx(-area, rel=1e-5)


def test_risks_are_minus_the_chance_to_outlive_a_typical_unit() -> None:
    """By a literal double sum over bins, of all and up to an age inside a bin."""
    curves = replace(_curves(), typical=TYPICAL)
    edges = curves.edges
    for until in (float(edges[-1]), float(edges[-2] + edges[-1]) / 2):
        found = curves.risk(until=until)
        for unit in range(len(curves)):
            chance = 0.0
            for left, right, low, high in zip(edges, edges[1:], TYPICAL, TYPICAL[1:], strict=False):
                end = min(float(right), until)
                share = (high - low) * (end - left) / (right - left)
                s = curves.take(np.array([unit])).at([left, end])[0]
                chance += max(share, 0) * (s[0] + s[1]) / 2
            assert found[unit] == pytest.approx(-chance, rel=1e-5)


def test_one_head_has_one_risk_for_long_and_all() -> None:
    curves = _curves(TERMS.one_head)
    np.testing.assert_array_equal(curves.risk("long"), curves.risk())


def test_a_higher_hazard_is_a_higher_risk() -> None:
    low = _curves()
    worse = tuple(step - np.float32(0.3) for step in low.steps)
    high = LifeCurves(low.terms, low.causes, low.entry, worse)
    for term in ("short", "long", "all"):
        assert (high.risk(term) > low.risk(term)).all()


def test_units_can_be_taken() -> None:
    curves = _curves(causes=2, entry=None)
    taken = curves.take(np.array([3, 1]))
    assert len(taken) == 2
    np.testing.assert_array_equal(taken.incidence, curves.incidence[[3, 1]])


def test_units_that_live_on_have_the_rest_of_their_curve() -> None:
    curves = _curves(causes=2, entry=None)
    later = curves.given(5.0)
    alive = np.where(curves.entry < 5, curves.at([5.0])[:, 0], 1)
    np.testing.assert_allclose(later.at([8.0])[:, 0], curves.at([8.0])[:, 0] / alive, rtol=1e-5)
    assert (later.entry == np.maximum(curves.entry, 5)).all()
    assert (later.incidence[:, 2] == 0).all()


def test_what_cannot_be_answered_is_refused() -> None:
    curves = _curves()
    with pytest.raises(ConfigError, match="end before"):
        curves.at([5.0, 21.0])
    with pytest.raises(ConfigError, match="end before"):
        curves.at([float("nan")])
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            curves.remaining(share)
    with pytest.raises(ConfigError, match="whole curve"):
        curves.risk("short", until=2.0)
    with pytest.raises(ConfigError, match="end before"):
        curves.risk(until=99.0)
    with pytest.raises(ConfigError, match="term"):
        curves.risk("both")  # type: ignore[arg-type]
