"""Calibrators against scikit-learn, scipy and slow literal fits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import nn

from adwright.core.errors import ArtifactError, ConfigError, DataError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature
from adwright.metrics.classification import auc, expected_calibration_error, log_loss
from adwright.models import calibration as c
from adwright.models.calibration import (
    EmbeddingConfig,
    ItemEmbedding,
    LogisticBaseline,
    RowEmbedding,
    baseline_features,
    embed_lists,
    fit_logistic,
)
from tests.support.models.small_batch import small_batch, small_spec

METHODS: tuple[c.Method, ...] = ("platt", "isotonic", "temperature", "none")


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def sample(
    seed: int, rows: int = 4000, slope: float = 0.6, shift: float = -0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions that are too sure and too high, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.5, rows)
    y = (rng.random(rows) < sigmoid(slope * x + shift)).astype(int)
    return y, sigmoid(x), rng.random(rows) * 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_platt_is_logistic_regression_on_platts_targets(seed: int, weighted: bool) -> None:
    y, p, weights = sample(seed)
    w = weights if weighted else np.ones(len(y))
    high, low = (w @ y + 1) / (w @ y + 2), 1 / (w @ (1 - y) + 2)
    target = np.where(y == 1, high, low)
    # A soft target is one row of each label with the two shares as weights.
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    peer.fit(
        np.tile(logit(p), 2)[:, None],
        np.repeat([1, 0], len(y)),
        np.concatenate((w * target, w * (1 - target))),
    )
    fitted = c.fit_calibrator("platt", y, p, weights if weighted else None)
    assert isinstance(fitted, c.PlattCalibrator)
    assert fitted.slope == pytest.approx(peer.coef_[0, 0], abs=1e-7)
    assert fitted.intercept == pytest.approx(peer.intercept_[0], abs=1e-7)
    assert fitted(p) == pytest.approx(
        sigmoid(fitted.slope * logit(p) + fitted.intercept), abs=1e-12
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("slope", [0.3, 1.0, 2.5])
def test_temperature_minimises_the_log_loss(slope: float, weighted: bool) -> None:
    y, p, weights = sample(1, slope=slope, shift=0)
    w = weights if weighted else None
    fitted = c.fit_calibrator("temperature", y, p, w)
    assert isinstance(fitted, c.TemperatureCalibrator)

    def loss(levels: np.ndarray) -> float:
        return float(np.average(-np.log(np.where(y > 0, levels, 1 - levels)), weights=w))

    best = minimize_scalar(
        lambda inverse: loss(sigmoid(inverse * logit(p))), bracket=(0.1, 3), tol=1e-10
    )
    assert 1 / fitted.temperature == pytest.approx(best.x, rel=1e-6)
    assert loss(fitted(p)) <= best.fun + 1e-12


def test_temperature_stays_within_bounds_without_an_optimum() -> None:
    p = np.array([0.2, 0.3, 0.7, 0.8])
    sharp = c.fit_calibrator("temperature", [0, 0, 1, 1], p)
    flat = c.fit_calibrator("temperature", [1, 1, 0, 0], p)
    assert (sharp, flat) == (c.TemperatureCalibrator(0.01), c.TemperatureCalibrator(100.0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("levels", [None, 50, 5])
@pytest.mark.parametrize("seed", range(3))
def test_isotonic_equals_scikit_learn(seed: int, levels: int | None, weighted: bool) -> None:
    y, p, weights = sample(seed)
    if levels:
        p = np.round(p * levels) / levels
    w = weights if weighted else None
    fitted = c.fit_calibrator("isotonic", y, p, w)
    peer = IsotonicRegression(out_of_bounds="clip").fit(p, y, sample_weight=w)
    edge = 0.5 / ((len(y) if w is None else w.sum()) + 1)
    everywhere = np.concatenate((p, np.linspace(0, 1, 501)))
    expected = np.clip(peer.predict(everywhere), edge, 1 - edge)
    # Next to an edge the line starts from the clipped level, so allow for the clip there.
    inner = (expected > 2 * edge) & (expected < 1 - 2 * edge)
    assert fitted(everywhere)[inner] == pytest.approx(expected[inner], abs=2 * edge)
    assert fitted(p) == pytest.approx(np.clip(peer.predict(p), edge, 1 - edge), abs=1e-9)


def literal_pool(sums: list[float], weight: list[float]) -> list[float]:
    """Pool adjacent violators, one violation at a time, until none is left."""
    blocks = [(s, w, 1) for s, w in zip(sums, weight, strict=True)]
    at = 0
    while at < len(blocks) - 1:
        (s, w, n), (t, v, m) = blocks[at : at + 2]
        if s / w > t / v:
            blocks[at : at + 2] = [(s + t, w + v, n + m)]
            at = max(at - 1, 0)
        else:
            at += 1
    return [s / w for s, w, n in blocks for _ in range(n)]


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 5)), min_size=1, max_size=40),
    st.sampled_from([0, 1, 64]),
)
def test_pooling_equals_the_literal_loop_however_many_rounds(
    data: list[tuple[int, int]], rounds: int
) -> None:
    means, weight = (np.array(column, float) for column in zip(*data, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c, "POOLING_ROUNDS", rounds)
        starts = c.pool_adjacent_violators(means * weight, weight)
    levels = np.add.reduceat(means * weight, starts) / np.add.reduceat(weight, starts)
    found = np.repeat(levels, np.diff(starts, append=len(means)))
    assert found == pytest.approx(literal_pool((means * weight).tolist(), weight.tolist()))


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_repetitions(method: c.Method) -> None:
    y, p, _ = sample(4, rows=500)
    times = np.random.default_rng(4).integers(0, 4, 500)
    weighted = c.fit_calibrator(method, y, p, times)
    repeated = c.fit_calibrator(method, np.repeat(y, times), np.repeat(p, times))
    assert weighted(p) == pytest.approx(repeated(p), abs=1e-9)
    if method != "none":
        assert weighted(p) != pytest.approx(c.fit_calibrator(method, y, p)(p), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_calibrators_never_reverse_an_order_and_stay_within_0_and_1(method: c.Method) -> None:
    y, p, _ = sample(6)
    grid = np.linspace(0, 1, 1001)
    levels = c.fit_calibrator(method, y, p)(grid)
    assert (np.diff(levels) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() <= 1
    assert np.isfinite(log_loss([0, 1], levels[[0, -1]]))
    if method in ("platt", "temperature"):
        assert auc(y, c.fit_calibrator(method, y, p)(p)) == pytest.approx(auc(y, p), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_calibrators_go_through_json_exactly(method: c.Method) -> None:
    y, p, weights = sample(7)
    fitted = c.fit_calibrator(method, y, p, weights)
    again = c.calibrator_from_jsonable(json.loads(json.dumps(fitted.to_jsonable())))
    assert again == fitted
    assert again(p).tolist() == fitted(p).tolist()


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature"])
def test_certain_predictions_and_separable_labels_stay_finite(method: c.Method) -> None:
    y = np.array([0, 0, 1, 1])
    fitted = c.fit_calibrator(method, y, np.array([0.0, 0.1, 0.9, 1.0], np.float32))
    values = fitted([0.0, 0.1, 0.9, 1.0])
    assert np.isfinite(values).all()
    assert values[:2].max() < values[2:].min()


def test_undoing_negative_sampling_by_the_formula() -> None:
    q, rate = np.array([0, 0.01, 0.3, 0.9, 1]), 0.05
    expected = q / (q + (1 - q) / rate)
    assert c.undo_negative_sampling(q, rate) == pytest.approx(expected, abs=1e-15)
    assert c.undo_negative_sampling(q, 1.0).tolist() == q.tolist()


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan")])
def test_a_sampling_rate_must_be_a_share(rate: float) -> None:
    with pytest.raises(ValueInvalidError, match=r"in \(0, 1\]"):
        c.undo_negative_sampling([0.5], rate)


def test_wrong_inputs_to_a_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"both classes.*ones in 2"):
        c.fit_calibrator("platt", [0, 0], [0.1, 0.2])
    with pytest.raises(DataError, match="both classes"):
        c.fit_calibrator("isotonic", [], [])
    with pytest.raises(DataError, match="expected 2 rows"):
        c.fit_calibrator("platt", [0, 1], [0.1])
    with pytest.raises(ValueInvalidError, match=r"outside 0..1.*row 1"):
        c.fit_calibrator("none", [0, 1], [0.1, 2])
    with pytest.raises(ValueInvalidError, match=r"unknown calibration method.*beta"):
        c.fit_calibrator("beta", [0, 1], [0.1, 0.2])  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match=r"outside 0..1.*row 0"):
        c.PlattCalibrator(1, 0)([-0.5])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "beta"},
        {"method": "none", "slope": 1},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": 1.0, "intercept": 0.0, "more": 1},
        {"method": "platt", "slope": "steep", "intercept": 0.0},
        {"method": "platt", "slope": float("nan"), "intercept": 0.0},
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "temperature": None},
        {"method": "isotonic", "knots": [], "levels": []},
        {"method": "isotonic", "knots": [0.1, 0.1], "levels": [0.1, 0.2]},
        {"method": "isotonic", "knots": [0.1, 0.2], "levels": [0.2, 0.1]},
        {"method": "isotonic", "knots": [0.1, 0.2], "levels": [0.2]},
        {"method": "isotonic", "knots": [0.1, 0.2], "levels": [0.2, 1.2]},
        {"method": "isotonic", "knots": 3, "levels": [0.2]},
    ],
)
def test_saved_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="saved calibrator"):
        c.calibrator_from_jsonable(values)


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature", "none"])
def test_what_is_saved_says_its_method_and_its_numbers_alone(method: c.Method) -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(0.01, 0.99, 300)
    fitted = c.fit_calibrator(method, (rng.uniform(size=300) < p).astype(int), p)
    values = fitted.to_jsonable()
    assert values.pop("method") == method == fitted.method
    assert values == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(fitted).items()
    }


@pytest.mark.parametrize(
    "values",
    [
        {"method": "platt", "slope": [1.0], "intercept": 0.0},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": 1.0, "intercept": 0.0, "more": 1},
        {"method": "isotonic", "knots": 0.5, "levels": 0.5},
        {"method": "isotonic", "knots": "12", "levels": [0.1, 0.2]},
        {"method": "isotonic", "knots": [0.2, 0.1], "levels": [0.1, 0.2]},
        {"method": "temperature", "temperature": -1.0},
        {"method": None},
        {},
    ],
)
def test_a_saved_calibrator_of_another_shape_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="saved calibrator"):
        c.calibrator_from_jsonable(values)


def test_rows_of_a_user_count_by_what_they_say() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([1, 2, 40, 7, 90, 3, 30, 0, 12])
    users = rng.permutation(np.repeat(np.arange(9), sizes))
    likes = rng.normal(0, 1.5, 9)[users]
    y = (rng.random(len(users)) < sigmoid(likes)).astype(np.int8)
    p = np.full(len(users), 0.4)
    # The analysis of variance, user by user.
    groups = [(y - p)[users == u] for u in range(9) if (users == u).any()]
    n, k, mean = len(y), len(groups), float((y - p).mean())
    between = sum(len(g) * (g.mean() - mean) ** 2 for g in groups) / (k - 1)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (n - k)
    usual = (n - sum(len(g) ** 2 for g in groups) / n) / (k - 1)
    rho = (between - within) / (between + (usual - 1) * within)
    assert 0.1 < rho < 0.9
    expected = [1 / (1 + (sizes[user] - 1) * rho) for user in users]
    np.testing.assert_allclose(c.user_weights(y, p, users), expected, rtol=1e-12)


def test_a_few_users_with_many_rows_do_not_set_the_base_rate() -> None:
    rng = np.random.default_rng(5)
    rate = np.clip(rng.normal(0.5, 0.2, 200), 0.02, 0.98)
    rate[0] = 0.05
    users = np.repeat(np.arange(200), [3000, *[20] * 199])
    y = (rng.random(len(users)) < rate[users]).astype(np.int8)
    p = np.full(len(users), 0.5)
    plain = c.fit_calibrator("platt", y, p)(p)[0]
    found = c.fit_calibrator("platt", y, p, c.user_weights(y, p, users))(p)[0]
    assert abs(found - rate[1:].mean()) < 0.03 < abs(plain - rate[1:].mean())


def lists(base: float, by_place: float, by_score: float) -> tuple[list[np.ndarray], ...]:
    """Scores of 3,000 lists and what was taken of them by a known rule."""
    rng, rule = np.random.default_rng(5), c.ListCalibrator(base, by_place, by_score)
    scores = [-np.sort(-rng.lognormal(0, 1, 30)) for _ in range(3_000)]
    return scores, [rng.random(30) < rule(one) for one in scores]


def test_a_list_calibrator_is_found_again_in_any_unit() -> None:
    scores, taken = lists(-2.0, 0.7, 0.3)
    found = c.fit_list_calibrator(scores, taken)
    assert (found.base, found.by_place, found.by_score) == pytest.approx((-2, 0.7, 0.3), abs=0.1)
    other = c.fit_list_calibrator([1e5 * one - 7 for one in scores], taken)
    assert other(1e5 * scores[0] - 7) == pytest.approx(found(scores[0]))
    assert expected_calibration_error(
        np.concatenate(taken), np.concatenate([found(one) for one in scores])
    ) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("signs", [(0.7, 0.0), (0.0, 0.0)])
def test_a_list_calibrator_never_turns_the_order_round(signs: tuple[float, float]) -> None:
    scores, taken = lists(-2.0, *signs)
    turned = [one[::-1] for one in taken]
    found = c.fit_list_calibrator(scores, turned)
    assert min(found.by_place, found.by_score) >= 0
    for one in (*scores[:50], np.zeros(4), np.array([3.0]), np.zeros(0), np.full(30, 0.1)):
        p = found(one)
        assert p.shape == one.shape
        assert (np.diff(p) <= 0).all()
    with pytest.raises(ValueInvalidError, match="keeps the order"):
        c.ListCalibrator(0.0, -0.1, 0.0)


@pytest.mark.parametrize("taken", [False, True])
def test_lists_of_which_nothing_was_taken_teach_nothing(taken: bool) -> None:
    with pytest.raises(DataError, match="something was taken"):
        c.fit_list_calibrator([np.zeros(3)], [np.full(3, taken)])


CONFIG = EmbeddingConfig(width=3, widths=(("item_id", 5),))


def _item() -> ItemEmbedding:
    torch.manual_seed(0)
    spec, items = small_spec()
    return ItemEmbedding(spec, items, CONFIG)


def test_an_item_is_its_features_one_after_another() -> None:
    spec, items = small_spec()
    embedding = _item()
    ids, types, words = (table.weight for table in embedding.tables)
    for item in range(len(items)):
        codes, offsets = items.multi["words"]
        values = codes[offsets[item] : offsets[item + 1]]
        mean = words[values].mean(0) if len(values) else torch.zeros(3)
        expected = torch.cat(
            [
                ids[items.categorical["item_id"][item]],
                types[items.categorical["type"][item]],
                mean,
                torch.from_numpy(items.numeric[item]),
            ]
        )
        torch.testing.assert_close(embedding(torch.tensor([item]))[0], expected)
    assert embedding.width == 5 + 3 + 3 + 1
    assert spec.of("item", kinds=("numeric",))[0].name == "weight"


def test_items_that_training_never_showed_share_one_embedding_of_their_own_id() -> None:
    vectors = _item()(torch.tensor([11, 12, 0]))[:, :5]
    torch.testing.assert_close(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[0], vectors[2])


def test_gradients_touch_the_rows_that_occur_and_no_others() -> None:
    embedding = _item()
    embedding(torch.tensor([1, 4])).sum().backward()
    gradient = embedding.tables[0].weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    _, items = small_spec()
    expected = set(items.categorical["item_id"][[1, 4]].tolist())
    assert set(gradient.coalesce().indices()[0].tolist()) == expected


def test_occurrences_equal_a_count_one_by_one() -> None:
    embedding, (_, items) = _item(), small_spec()
    shown, times = torch.tensor([1, 2, 2, 6]), torch.tensor([1.0, 2.0, 0.5, 3.0])
    for (_, counts), name in zip(
        embedding.occurrences(shown, times), ("item_id", "type", "words"), strict=True
    ):
        literal = torch.zeros_like(counts)
        for item, number in zip(shown.tolist(), times.tolist(), strict=True):
            if name == "words":
                codes, offsets = items.multi[name]
                rows = codes[offsets[item] : offsets[item + 1]].tolist()
            else:
                rows = [int(items.categorical[name][item])]
            for row in rows:
                literal[row] += number
        torch.testing.assert_close(counts, literal)


def test_row_features_keep_their_order_and_empty_lists_are_zero() -> None:
    torch.manual_seed(0)
    spec, _ = small_spec()
    batch = small_batch()
    embedding = RowEmbedding((*spec.coded_rows, *spec.multi_rows), CONFIG)
    users, tags = (table.weight for table in embedding.tables)
    rows = embedding(batch)
    torch.testing.assert_close(rows[:, :3], users[batch.categorical["user_id"]])
    torch.testing.assert_close(rows[2, 3:], (tags[2] + tags[1]) / 2)
    assert not rows[1, 3:].any()


def test_the_mean_of_a_list_counts_repeats() -> None:
    table = nn.Embedding(4, 2)
    lists = Jagged(torch.tensor([1, 1, 3]), torch.tensor([0, 3]))
    expected = (2 * table.weight[1] + table.weight[3]) / 3
    torch.testing.assert_close(embed_lists(table, lists)[0], expected)


def test_widths_and_scale_are_those_of_the_config() -> None:
    feature = Feature("type", "categorical", "item", tuple("abcdefgh"))
    assert EmbeddingConfig(width=6, widths=()).of(feature) == 6
    assert EmbeddingConfig(width=6, widths=(("type", 2),)).of(feature) == 2
    assert EmbeddingConfig(width=60, widths=()).of(feature) == feature.cardinality
    torch.manual_seed(0)
    wide = EmbeddingConfig(width=8, scale=2.0).table(feature).weight.std()
    torch.manual_seed(0)
    narrow = EmbeddingConfig(width=8, scale=0.5).table(feature).weight.std()
    torch.testing.assert_close(wide, 4 * narrow)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 wide"):
        EmbeddingConfig(width=0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_values_of_lists_are_kept_by_chance(keep: float) -> None:
    embedding, items = _item(), torch.arange(12)
    torch.manual_seed(3)
    whole, some = embedding.parts(items), embedding.parts(items, keep=keep)
    assert all(torch.equal(a, b) for a, b in zip(whole[:-1], some[:-1], strict=True))
    if keep == 0:
        assert not some[-1].any()
    else:
        assert torch.equal(whole[-1], some[-1]) == (keep == 1)


def test_parts_and_numbers_make_the_item() -> None:
    embedding, items = _item(), torch.tensor([3, 1, 0, 3])
    parts = embedding.parts(items)
    assert [part.shape[1] for part in parts] == embedding.widths
    found = embedding(items)
    assert torch.equal(found[:, : sum(embedding.widths)], torch.cat(parts, 1))
    assert found.shape[1] == embedding.width
    assert torch.equal(found[0], found[3])


def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    popularity, frequency = rng.poisson(50, 4000) * 1.0, rng.poisson(0.5, 4000) * 1.0
    chance = 1 / (1 + np.exp(-(np.log1p(popularity) / 4 + np.log1p(frequency) - 2)))
    return popularity, frequency, (rng.random(4000) < chance).astype(np.int8)


def test_it_equals_scikit_learn() -> None:
    popularity, frequency, labels = _rows()
    ours = fit_logistic(popularity, frequency, labels)(popularity, frequency)
    x = baseline_features(popularity, frequency)
    peer = LogisticRegression(C=1 / (1e-6 * len(x)), fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs = peer.fit(x, labels).predict_proba(x)[:, 1]
    assert np.abs(ours - theirs).max() < 1e-4


def test_weights_equal_repeated_rows() -> None:
    popularity, frequency, labels = _rows()
    weights = np.where(labels == 1, 1.0, 3.0)
    again = np.repeat(np.arange(len(labels)), weights.astype(int))
    weighted = fit_logistic(popularity, frequency, labels, weights)
    repeated = fit_logistic(popularity[again], frequency[again], labels[again])
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, rtol=1e-6)


def test_features_are_those_documented() -> None:
    counts = np.array([np.e - 1]), np.array([np.e**2 - 1])
    row = baseline_features(*counts)[0]
    np.testing.assert_allclose(row, [1, 0.1, 2, 0.01, 4, 0.2])
    row = baseline_features(*counts, np.array([np.e**3 - 1]))[0]
    np.testing.assert_allclose(row, [1, 0.1, 2, 0.01, 4, 0.2, 3, 9, 0.3, 6])


def test_the_item_item_score_is_one_more_thing_to_go_by() -> None:
    popularity, frequency, labels = _rows()
    noise = np.random.default_rng(3).random(len(labels))
    model = fit_logistic(popularity, frequency, labels, item_item=labels + noise)
    assert len(model.coefficients) == 10
    found = model(popularity, frequency, labels + noise)
    plain = fit_logistic(popularity, frequency, labels)(popularity, frequency)
    assert np.abs(found - labels).mean() < np.abs(plain - labels).mean() / 2


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="single class"):
        fit_logistic(np.ones(3), np.ones(3), np.zeros(3, np.int8))
    assert LogisticBaseline((0.0,) * 6)(np.ones(1), np.ones(1))[0] == 0.5


def test_the_gradient_vanishes_at_the_fit() -> None:
    """Maximum likelihood with the ridge that the docstring names."""
    rng = np.random.default_rng(7)
    popularity, frequency = rng.integers(0, 500, (2, 400)).astype(np.float64)
    frequency = frequency % 6
    labels = (rng.uniform(size=400) < 0.2 + 0.1 * (frequency > 2)).astype(np.int8)
    weights = rng.uniform(0.5, 2, 400)
    found = fit_logistic(popularity, frequency, labels, weights)
    x, beta = baseline_features(popularity, frequency), np.array(found.coefficients)
    slack = weights * (labels - found(popularity, frequency))
    ridge = 1e-6 * weights.sum() * beta
    np.testing.assert_allclose(x.T @ slack - ridge, 0, atol=1e-6)
