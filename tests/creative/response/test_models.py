"""AutoInt against its equations, written out field by field and head by head."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.response.inputs import AdFeatures, AdInputs, FieldValues, VectorField
from adwright.creative.response.models import (
    AutoInt,
    AutoIntConfig,
    BetaPrior,
    InteractingLayer,
    LinearConfig,
    RateCalibration,
    click_rate_loss,
    fit_linear,
    fit_prior,
    is_behind,
    listwise_loss,
    order_measures,
)
from tests.support.data.small_creatives import small_creatives

FEATURES = AdFeatures(
    texts="none",
    vectors=(VectorField("title", 5), VectorField("image", 3)),
    numbers=("seconds", "faces"),
    number_means=(0.0, 0.0),
    number_scales=(1.0, 1.0),
    categories=(FieldValues("brand", ("a", "b")),),
    bags=(FieldValues("tags", ("x", "y", "z")),),
)
CONFIG = AutoIntConfig(width=4, layers=2, heads=2, dropout=0.0)


def _inputs(rows: int = 6) -> AdInputs:
    g = torch.Generator().manual_seed(1)
    vectors = (torch.randn(rows, 5, generator=g), torch.randn(rows, 3, generator=g))
    vectors[1][0] = torch.nan
    numbers = torch.randn(rows, 2, generator=g)
    numbers[1, 1] = torch.nan
    bags = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).repeat(2, 1)
    return AdInputs(vectors, numbers, torch.tensor([[0], [1], [2], [3], [2], [1]]), (bags,))


def _network(config: AutoIntConfig = CONFIG) -> AutoInt:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoInt(config, FEATURES)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return network.eval()


def _literal(network: AutoInt, inputs: AdInputs, row: int) -> float:
    """y of one ad, without one operation on more than a vector."""
    fields = []
    for place, vector in enumerate(inputs.vectors):
        missing = bool(vector[row].isnan().any())
        layer = network.vectors[place].get_parameter("weight")
        fields.append(network.vector_defaults[place] if missing else layer @ vector[row])
    for place in range(2):
        x = inputs.numbers[row, place]
        level = network.number_levels[place] + x * network.numbers[place]
        fields.append(network.number_defaults[place] if bool(x.isnan()) else level)
    fields.append(network.categories[0].get_parameter("weight")[inputs.codes[row, 0]])
    table, share = network.bags[0].get_parameter("weight"), inputs.bags[0][row]
    active = [value for value in range(3) if share[value] > 0]
    mean = sum(table[value] for value in active) / max(len(active), 1)
    fields.append(mean if active else network.bag_defaults[0])
    for layer in network.layers:
        q, k, v, r = (
            layer.get_submodule(name).get_parameter("weight")
            for name in ("query", "key", "value", "residual")
        )
        new = []
        for e in fields:
            joined = []
            for head in (slice(0, 2), slice(2, 4)):
                scores = [math.exp(float((q @ e)[head] @ (k @ other)[head])) for other in fields]
                parts = [
                    score / sum(scores) * (v @ other)[head]
                    for score, other in zip(scores, fields, strict=True)
                ]
                joined.append(sum(parts))
            new.append(torch.relu(torch.cat(joined) + r @ e))
        fields = new
    return float(network.out(torch.cat(fields)))


def test_it_is_its_equations() -> None:
    network, inputs = _network(), _inputs()
    with torch.no_grad():
        found = network(inputs)
        literal = [_literal(network, inputs, row) for row in range(6)]
    np.testing.assert_allclose(found.numpy(), literal, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_no_ad_changes_the_answer_on_another() -> None:
    network, inputs = _network(), _inputs()
    order = torch.tensor([4, 2, 5])
    torch.testing.assert_close(network(inputs.take(order)), network(inputs)[order])


@torch.no_grad()
def test_dense_vectors_attend_or_go_deep() -> None:
    inputs = _inputs()
    moved = replace(inputs, vectors=(inputs.vectors[0] + 1, inputs.vectors[1]))
    attends = _network()
    beside = _network(replace(CONFIG, dense="deep", deep=(6,)))
    assert (attends.fields, beside.fields) == (6, 4)
    for network in (attends, beside):
        assert (network(moved) != network(inputs)).all()
    torch.testing.assert_close(beside.embed(moved), beside.embed(inputs))
    assert not torch.equal(attends.embed(moved), attends.embed(inputs))
    joined = _network(replace(CONFIG, deep=(6,)))
    assert joined.deep is not None
    assert not torch.equal(joined(inputs), attends(inputs))


@torch.no_grad()
def test_training_begins_at_the_linear_part() -> None:
    fresh, inputs = AutoInt(replace(CONFIG, deep=(6,)), FEATURES).eval(), _inputs()
    offset = torch.arange(6.0)
    torch.testing.assert_close(fresh(inputs, offset), offset)
    network = _network()
    torch.testing.assert_close(network(inputs, offset), network(inputs) + offset)


@torch.no_grad()
def test_each_setting_changes_something() -> None:
    inputs = _inputs()
    base = _network()(inputs)
    for change in ({"layers": 1}, {"heads": 1}, {"scaled": True}, {"layers": 0}):
        assert not torch.allclose(_network(replace(CONFIG, **change))(inputs), base), change
    dropped = _network(replace(CONFIG, dropout=0.5)).train()
    assert not torch.allclose(dropped(inputs), dropped(inputs))
    assert _network(replace(CONFIG, width=8)).out.in_features == 48
    layer = InteractingLayer(CONFIG)
    assert layer(torch.randn(2, 3, 4)).shape == (2, 3, 4)


@pytest.mark.parametrize(
    "change", [{"heads": 3}, {"width": 0}, {"dropout": 1.0}, {"dense": "deep"}, {"deep": (0,)}]
)
def test_settings_that_cannot_be_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError):
        AutoIntConfig(**change)


def _drawn(rows: int = 240, width: int = 6, between: float = 2.0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width)).astype(np.float32)
    tests = rng.integers(-1, 50, rows)
    folds = np.where(tests >= 0, tests % 4, rng.integers(0, 4, rows))
    weights = rng.uniform(0.2, 1.0, rows)
    effect = rng.normal(size=51)[tests] * between
    y = x @ np.arange(width) + effect + rng.normal(size=rows) / np.sqrt(weights)
    return x, y, tests, folds, weights


def _literal_linear(x, y, tests, weights, ratio, penalty):
    """(X' V^-1 X + p I)^-1 X' V^-1 y with V = 1 / c on its diagonal, and r within a test."""
    own = np.where(tests < 0, 1000 + np.arange(len(y)), tests)
    v = np.diag(1 / weights) + ratio * (own[:, None] == own)
    inputs = np.c_[x.astype(np.float64), np.ones(len(y))]
    ridge = penalty * np.eye(inputs.shape[1])
    ridge[-1, -1] = 0
    solved = np.linalg.solve(v, inputs)
    return np.linalg.solve(inputs.T @ solved + ridge, solved.T @ y)


@pytest.mark.parametrize("ratio", [0.0, 1.7])
def test_it_is_generalised_least_squares(ratio: float) -> None:
    x, y, tests, folds, weights = _drawn()
    config = LinearConfig(penalties=(2.0,), ratio=ratio)
    found = fit_linear(x, y, tests, folds, weights, config)
    literal = _literal_linear(x, y, tests, weights, ratio, 2.0)
    np.testing.assert_allclose(found.part.weight, literal[:-1], atol=1e-4)
    assert found.part.bias == pytest.approx(literal[-1], abs=1e-4)
    np.testing.assert_allclose(found.part.predict(x), x @ literal[:-1] + literal[-1], atol=1e-3)


def test_fewer_creatives_than_inputs_make_no_difference() -> None:
    x, y, tests, folds, weights = _drawn(rows=60, width=90)
    config = LinearConfig(penalties=(2.0,), ratio=1.5)
    found = fit_linear(x, y, tests, folds, weights, config)
    literal = _literal_linear(x, y, tests, weights, 1.5, 2.0)
    np.testing.assert_allclose(found.part.weight, literal[:-1], rtol=1e-3, atol=1e-3)
    out = folds == 2
    literal = _literal_linear(x[~out], y[~out], tests[~out], weights[~out], 1.5, 2.0)
    np.testing.assert_allclose(
        found.held_out[out], x[out] @ literal[:-1] + literal[-1], rtol=1e-3, atol=1e-2
    )


def test_the_penalty_is_that_of_the_least_held_out_error() -> None:
    x, y, tests, folds, weights = _drawn()
    found = fit_linear(x, y, tests, folds, weights, LinearConfig(penalties=(1e4, 1.0, 1e3)))
    assert found.part.penalty == 1.0
    assert int(np.argmin(found.errors)) == 1


def test_the_ratio_grows_with_what_tests_differ_by() -> None:
    ratios = []
    for between in (0.0, 1.0, 3.0):
        x, y, tests, folds, weights = _drawn(between=between)
        config = LinearConfig(penalties=(1.0,))
        ratios.append(fit_linear(x, y, tests, folds, weights, config).part.ratio)
    assert ratios[0] < 0.3 < ratios[1] < 2 < ratios[2]


def test_an_intercept_of_each_test_keeps_audiences_out_of_the_weights() -> None:
    rng = np.random.default_rng(1)
    tests = np.repeat(np.arange(80), 4)
    audience = rng.normal(size=80)[tests]
    x = np.c_[rng.normal(size=320), audience + rng.normal(size=320) * 0.3].astype(np.float32)
    y = 0.2 * x[:, 0] - 0.2 * x[:, 1] + 3 * audience + rng.normal(size=320) * 0.1
    own, plain = (
        fit_linear(x, y, tests, tests % 4, None, LinearConfig(penalties=(0.1,), ratio=ratio))
        for ratio in (500.0, 0.0)
    )
    assert own.part.weight[1] == pytest.approx(-0.2, abs=0.15)
    assert plain.part.weight[1] > 1


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y, tests, folds, weights = _drawn()
    with pytest.raises(DataError, match="2 folds"):
        fit_linear(x, y, tests, np.zeros_like(folds), weights)
    with pytest.raises(DataError, match="two folds"):
        fit_linear(x, y, np.zeros_like(tests), folds, weights)
    with pytest.raises(DataError):
        fit_linear(x, y[:-1], tests, folds, weights)
    for bad in ({"penalties": ()}, {"penalties": (0.0,)}, {"ratio": -1.0}):
        with pytest.raises(ConfigError):
            LinearConfig(**bad)


SCORES = torch.tensor([0.3, -1.0, 2.0, 0.1, 0.7, -0.2], dtype=torch.float64)
RATES = torch.tensor([0.02, 0.03, 0.01, 0.05, 0.02, 0.04], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.5, 0.25, 1.0, 2.0, 0.5], dtype=torch.float64)
TESTS = torch.tensor([4, 0, 4, 0, 4, -1])


def test_it_is_its_formula() -> None:
    total = 0.0
    for test in (0, 4):
        rows = [row for row in range(6) if TESTS[row] == test]
        p = sum(float(RATES[row]) for row in rows)
        s = sum(math.exp(float(SCORES[row])) for row in rows)
        divergence = sum(
            float(RATES[row]) / p * math.log(float(RATES[row]) / p / (math.exp(SCORES[row]) / s))
            for row in rows
        )
        total += sum(float(WEIGHTS[row]) for row in rows) * divergence
    assert float(listwise_loss(SCORES, RATES, WEIGHTS, TESTS)) == pytest.approx(total, rel=1e-9)
    level = sum(
        float(w) * (float(s) - math.log(float(p))) ** 2 / 2
        for s, p, w in zip(SCORES, RATES, WEIGHTS, strict=True)
    )
    both = click_rate_loss(SCORES, RATES, WEIGHTS, TESTS, regression=0.3)
    assert float(both) == pytest.approx(total + 0.3 * level, rel=1e-9)


def test_the_order_within_tests_does_not_ask_for_a_level() -> None:
    moved = SCORES + 5.0 * (TESTS == 4)
    same = listwise_loss(SCORES, RATES, WEIGHTS, TESTS)
    torch.testing.assert_close(listwise_loss(moved, RATES, WEIGHTS, TESTS), same)
    best = RATES.log() - 2
    assert float(listwise_loss(best, RATES, WEIGHTS, TESTS)) == pytest.approx(0, abs=1e-12)


def test_a_creative_of_no_test_has_a_level_alone() -> None:
    none = torch.full_like(TESTS, -1)
    assert float(listwise_loss(SCORES, RATES, WEIGHTS, none)) == 0
    grown = SCORES.clone().requires_grad_()
    click_rate_loss(grown, RATES, WEIGHTS, none, regression=1.0).backward()
    assert grown.grad is not None
    assert (grown.grad != 0).all()


def test_the_rates_themselves_order_everything() -> None:
    outcomes = small_creatives(20)
    found = order_measures(outcomes.rate, outcomes)
    assert found == {"rho": 1.0, "best_of_test": 1.0, "pairs": 1.0, "rho_within": 1.0}
    turned = order_measures(-outcomes.rate, outcomes)
    assert turned["pairs"] == turned["best_of_test"] == 0


def test_what_cannot_be_measured_is_left_out() -> None:
    outcomes = small_creatives(4)
    alone = outcomes.take(np.array([0, 3, 6]))
    assert set(order_measures(alone.rate, alone)) == {"rho"}
    assert "rho" not in order_measures(np.zeros(12), outcomes)


def test_pairs_decide_before_rho() -> None:
    assert is_behind({"pairs": 0.5, "rho": 0.9}, {"pairs": 0.6, "rho": 0.1})
    assert not is_behind({"pairs": 0.6, "rho": 0.1}, {"pairs": 0.5, "rho": 0.9})
    assert is_behind({"rho": 0.1}, {"rho": 0.1})
    assert not is_behind({}, {"rho": 0.1})


def _drawn_rates(a: float, b: float, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n = rng.integers(50, 4000, rows)
    return rng.binomial(n, rng.beta(a, b, rows)), n


def test_it_finds_the_prior_that_counts_were_drawn_from() -> None:
    found = fit_prior(*_drawn_rates(2.0, 120.0))
    assert found.a == pytest.approx(2.0, rel=0.08)
    assert found.mean == pytest.approx(2 / 122, rel=0.05)


def test_creatives_that_do_not_differ_have_a_prior_that_is_nearly_sure() -> None:
    found = fit_prior(np.full(50, 10), np.full(50, 100))
    assert found.a + found.b > 1e5
    assert found.mean == pytest.approx(0.1, rel=1e-3)


def test_rates_and_weights_follow_their_formulas() -> None:
    prior = BetaPrior(2.0, 98.0)
    np.testing.assert_allclose(prior.smoothed([5, 0], [100, 1]), [7 / 200, 2 / 101])
    logs = np.log(beta(2, 98).rvs(400_000, random_state=0))
    assert prior.log_variance == pytest.approx(logs.var(), rel=0.01)
    noise = 0.98 / (1000 * 0.02)
    expected = prior.log_variance / (prior.log_variance + noise)
    assert prior.weights([1000])[0] == pytest.approx(expected)
    assert np.all(np.diff(prior.weights([1, 10, 100, 10_000])) > 0)


@pytest.mark.parametrize(("clicks", "impressions"), [([0, 0], [5, 9]), ([3, 2], [3, 2])])
def test_no_prior_of_no_click(clicks: list[int], impressions: list[int]) -> None:
    with pytest.raises(DataError, match="0 or 1 alone"):
        fit_prior(clicks, impressions)


@pytest.mark.parametrize("clicks", [[1, 4], [1, -1], [1, math.nan]])
def test_counts_that_cannot_be_name_their_row(clicks: list[float]) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        fit_prior(clicks, [3, 3])
    assert caught.value.row == 1
    with pytest.raises(DataError, match="one length"):
        fit_prior([1], [3, 3])
    with pytest.raises(ConfigError):
        BetaPrior(0.0, 1.0)


def _drawn_calibration(seed: int, rows: int = 1500) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    known = rng.normal(-4, 0.5, rows)
    impressions = rng.integers(500, 4000, rows)
    rates = np.exp(known + rng.normal(0, 0.3, rows))
    return known, rng.binomial(impressions, np.minimum(rates, 1)), impressions


def test_expected_clicks_are_those_found() -> None:
    known, clicks, impressions = _drawn_calibration(0)
    made = RateCalibration.fit(known - 1, clicks, impressions, BetaPrior(2, 100))
    value, _, _ = made.rates(known - 1)
    assert (value * impressions).sum() == pytest.approx(clicks.sum())
    assert made.level == pytest.approx(1 + 0.045, abs=0.05)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_rates_of_new_ads_are_covered_noise_and_all(coverage: float) -> None:
    known, clicks, impressions = _drawn_calibration(1)
    prior = BetaPrior(2, 100)
    made = RateCalibration.fit(known, clicks, impressions, prior, coverage=coverage)
    known, clicks, impressions = _drawn_calibration(2, 4000)
    value, low, high = made.rates(known)
    inside = (low <= clicks / impressions) & (clicks / impressions <= high)
    assert abs(inside.mean() - coverage) < 0.025
    assert (low <= value).all()
    assert (value <= high).all()
    assert made.rates(np.array([5.0]))[0][0] == 1


def test_no_level_without_a_click() -> None:
    known, clicks, impressions = _drawn_calibration(0)
    with pytest.raises(DataError, match="no held-out ad"):
        RateCalibration.fit(known, clicks * 0, impressions, BetaPrior(2, 100))
