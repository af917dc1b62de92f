"""The honest choice against a literal reference, and against chance."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from adwright.core.errors import DataError
from adwright.metrics.choosing import (
    MIXTURE,
    Candidate,
    Fit,
    Floats,
    Rows,
    accuracy_of,
    choose,
    dealt,
    imitating_folds,
    pairs_of,
    spearman_of,
)

N = 240
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
NOISE = RNG.normal(size=N)
Y = 0.6 * X[:, 0] + 0.6 * X[:, 1] + NOISE
BRANDS = np.repeat(np.arange(N // 4), 4)


def _line(y: Floats, column: int, x: Floats = X) -> Fit:
    def fit(train: Rows):
        slope, level = np.polyfit(x[train, column], y[train], 1)
        return lambda rows: level + slope * x[rows, column]

    return fit


def _mean(y: Floats) -> Fit:
    return lambda train: lambda rows: np.full(len(rows), y[train].mean())


def _candidates(y: Floats, x: Floats = X) -> list[Candidate]:
    lines = [Candidate(f"x{at}", _line(y, at, x), simple=at == 0) for at in range(3)]
    return [Candidate("constant", _mean(y), simple=True), *lines]


def test_folds_imitate_use() -> None:
    days = np.repeat(np.arange(N // 8), 8).astype(float)
    stories = np.arange(N) // 2
    stories[N - 1] = stories[0]
    steps = imitating_folds(N, times=days, groups=BRANDS, together=stories)
    assert steps.how == "time"
    assert [len(one) for one in steps.held] == [24] * 5
    for train, held in zip(steps.train, steps.held, strict=True):
        assert days[train].max() < days[held].min()
        assert not set(stories[train]) & set(stories[held])
    assert all(one.max() < two.min() for one, two in pairwise(steps.held))
    brands = imitating_folds(N, groups=BRANDS, together=stories, called="brand", seed=1)
    assert brands.how == "groups"
    assert "brands held out" in brands.said
    for train, held in zip(brands.train, brands.held, strict=True):
        assert not set(BRANDS[train]) & set(BRANDS[held])
        assert not set(stories[train]) & set(stories[held])
    alone = imitating_folds(N, groups=np.arange(N), called="brand")
    assert "each has one" in alone.said
    assert imitating_folds(N, times=np.zeros(N), groups=np.zeros(N)).how == "rows"
    with pytest.raises(DataError):
        imitating_folds(N, together=np.zeros(N))
    assert np.bincount(dealt(BRANDS, 5)).tolist() == [48] * 5


def test_measures_are_their_literal_selves() -> None:
    rows, predicted = np.arange(50), X[:50, 0].round(1)
    told = spearman_of(Y)(rows, predicted)
    assert told.above.sum() / told.below.sum() == pytest.approx(spearmanr(Y[:50], predicted)[0])
    groups = np.array([at % 7 - 1 for at in range(N)])
    pairs = [
        (p > 0) + (p == 0) / 2
        for i in rows
        for j in rows
        if groups[i] == groups[j] >= 0 and Y[i] - Y[j] > 0.2
        for p in [predicted[i] - predicted[j]]
    ]
    told = pairs_of(Y, groups, apart=0.2)(rows, predicted)
    assert told.below.sum() == len(pairs)
    assert told.above.sum() == pytest.approx(sum(pairs))
    classes = np.array([0, 1, 1])
    told = accuracy_of(classes)(np.arange(3), np.array([[2.0, 1], [0, 3], [1, 0]]))
    assert told.above.tolist() == [1, 1, 0]


def test_a_choice_is_its_literal_self() -> None:
    folds = imitating_folds(N, groups=BRANDS)
    found = choose(_candidates(Y)[:3], Y, folds, spearman_of(Y), units=BRANDS, mix=False)
    values = {}
    for one in _candidates(Y)[:3]:
        rhos = []
        for train, held in zip(folds.train, folds.held, strict=True):
            predicted = one.fit(train)(held)
            rhos.append(0.0 if np.ptp(predicted) == 0 else spearmanr(Y[held], predicted)[0])
        sizes = [len(held) for held in folds.held]
        values[one.name] = float(np.average(rhos, weights=sizes))
    assert {name: one.value for name, one in found.values.items()} == pytest.approx(values)
    # Two that are alike: the first is kept unless the other is ahead by an error of the difference.
    assert found.kept == "x0"
    assert found.next == "x1"
    assert found.told.low < values["x0"] < found.told.high
    assert found.rule == "constant"
    assert found.over_rule.value == pytest.approx(values["x0"])


def test_a_mixture_of_what_two_know_is_kept() -> None:
    found = choose(_candidates(Y), Y, imitating_folds(N, times=np.arange(N)), spearman_of(Y))
    assert found.kept == MIXTURE
    assert found.weights["x0"] > 0.5
    assert found.weights["x1"] > 0.5
    assert min(found.weights.values()) >= 0
    assert found.sentences()[0].startswith("mixture is kept: rho ahead of x")
    parts = {name: X[:, int(name[1])] for name in found.parts}
    mixed = found.offset + sum(found.weights[name] * one for name, one in parts.items())
    np.testing.assert_allclose(found.predict(parts), mixed)
    assert np.isnan(found.unseen[: N // 2]).all()
    assert spearmanr(found.unseen[N // 2 :], Y[N // 2 :])[0] > 0.3


def test_classes_are_chosen_alike() -> None:
    classes = (Y > 0).astype(int)
    one_hot = np.eye(2)[classes]

    def fit(column: int) -> Fit:
        line = _line(Y, column)
        return lambda train: lambda rows: np.stack([-line(train)(rows), line(train)(rows)], 1)

    plain = Candidate("majority", lambda _: lambda rows: np.tile([0.4, 0.6], (len(rows), 1)), True)
    tried = [plain, Candidate("x0", fit(0)), Candidate("x1", fit(1))]
    found = choose(tried, one_hot, imitating_folds(N), accuracy_of(classes), chance=0.5)
    assert found.kept in ("x0", "x1", MIXTURE)
    assert found.unseen.shape == (N, 2)
    assert found.over_rule.low > 0


@pytest.mark.parametrize("how", ["time", "groups", "rows"])
def test_chance_is_nothing_and_what_is_there_is_found(how: str) -> None:
    nothing = seen = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(120, 3)), rng.normal(size=120)
        folds = imitating_folds(
            120,
            times=np.arange(120) if how == "time" else None,
            groups=BRANDS[:120] if how == "groups" else None,
        )
        for truth in (y, y + x[:, 1]):
            found = choose(_candidates(truth, x), truth, folds, spearman_of(truth), seed=seed)
            nothing += truth is y and found.kept is None
            seen += truth is not y and found.kept in ("x1", MIXTURE)
            if found.kept is None:
                assert found.sentences()[0].startswith("nothing here predicts this")
                assert found.told.value == 0
                assert found.parts == {}
    assert (nothing, seen) == (3, 3)


def test_what_is_told_comes() -> None:
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, noise = rng.normal(size=(400, 4)), rng.normal(size=400)
        y = 0.5 * x[:, 0] + 0.3 * x[:, 1] + noise
        some = np.arange(300)
        folds = imitating_folds(300, seed=seed)
        found = choose(_candidates(y, x), y[some], folds, spearman_of(y), seed=seed)
        parts = {
            one.name: one.fit(some)(np.arange(300, 400))
            for one in _candidates(y, x)
            if one.name in found.parts
        }
        rho = spearmanr(found.predict(parts), y[300:])[0]
        inside += found.told.low <= rho <= found.told.high
    assert inside >= 18


def test_what_cannot_be_chosen_is_refused() -> None:
    folds = imitating_folds(N)
    with pytest.raises(DataError):
        choose([], Y, folds, spearman_of(Y))
    broken = Candidate("broken", lambda _: lambda rows: np.full(len(rows), math.nan))
    with pytest.raises(DataError):
        choose([broken], Y, folds, spearman_of(Y))
