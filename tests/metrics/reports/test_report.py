"""Reports: values equal the plain measures, intervals are seeded, text and JSON are faithful."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ArtifactError, DataError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import auc, expected_calibration_error, group_auc, log_loss
from adwright.metrics.reports import report as r

PROTOCOL = r.EvaluationProtocol(split="train weeks 1-44, test weeks 49-53")
COMMON = {"protocol": PROTOCOL, "data_hash": "abc123", "seed": 7}


def sample(
    seed: int = 0, rows: int = 6000, users: int = 80
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, rows) * 3 - 20
    p = 1 / (1 + np.exp(-rng.normal(-2, 1, rows) - rng.normal(0, 0.5, 10_000)[user + 20]))
    return (rng.random(rows) < p).astype(int), p, user, rng.random(rows) + 0.5


def evaluate(y: object, p: object, users: object, **changes: object) -> r.Report:
    arguments = {**COMMON, "rng": np.random.default_rng(1), "draws": 300, **changes}
    return r.evaluate_response(y, p, users, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_those_of_the_plain_measures(dtype: type) -> None:
    y, p, users, _ = sample()
    p = p.astype(dtype)
    report = evaluate(y, p, users)
    rate = y.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    expected = {
        "auc": auc(y, p),
        "gauc": group_auc(y, p, users),
        "log_loss": log_loss(y, p),
        "normalised_entropy": log_loss(y, p) / entropy,
        "ece": expected_calibration_error(y, p),
    }
    assert list(report.metrics) == list(expected)
    for name, value in expected.items():
        metric = report.metrics[name]
        assert metric.value == pytest.approx(value, abs=1e-9), name
        assert metric.low <= metric.value <= metric.high, name
        assert 0 < metric.width < 0.2, name
    assert (report.users, report.rows) == (80, 6000)


@pytest.mark.parametrize(
    "convert",
    [
        lambda u: [f"household {one}" for one in u],
        lambda u: np.array([f"household {one}" for one in u]),
        lambda u: pl.Series([f"household {one}" for one in u]),
        lambda u: pl.Series([f"household {one}" for one in u]).cast(pl.Categorical),
        lambda u: pl.Series([f"household {one}" for one in u]).to_arrow(),
        pl.Series,
        lambda u: u.astype(np.int16),
    ],
    ids=["list", "numpy", "polars", "categorical", "arrow", "integers", "narrow"],
)
def test_users_may_be_texts_or_numbers_in_any_container(convert: object) -> None:
    y, p, users, _ = sample()
    plain, other = evaluate(y, p, users), evaluate(y, p, convert(users))  # type: ignore[operator]
    assert other.users == plain.users
    for name, metric in plain.metrics.items():
        assert other.metrics[name].value == pytest.approx(metric.value, abs=1e-12)
        assert other.metrics[name].width == pytest.approx(metric.width, rel=0.35)


def test_every_argument_changes_the_report() -> None:
    y, p, users, _ = sample()
    plain = evaluate(y, p, users)
    assert plain == evaluate(y, p, users)
    changes: list[dict[str, object]] = [
        {"rng": np.random.default_rng(2)},
        {"draws": 200},
        {"confidence": 0.8},
        {"seed": 8},
        {"data_hash": "other"},
        {"protocol": r.EvaluationProtocol(split="random")},
    ]
    for change in changes:
        assert plain != evaluate(y, p, users, **change), change
    assert plain.metrics["auc"].width > evaluate(y, p, users, confidence=0.8).metrics["auc"].width


def test_many_users_are_resampled_in_blocks_of_similar_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y, p, users, _ = sample(users=1000)
    each = evaluate(y, p, users, draws=1000)
    monkeypatch.setattr(r, "_BLOCKS", 250)
    blocks = evaluate(y, p, users, draws=1000)
    assert blocks.users == each.users
    for name in ("auc", "gauc", "log_loss", "normalised_entropy"):
        assert blocks.metrics[name].value == pytest.approx(each.metrics[name].value)
        assert blocks.metrics[name].width == pytest.approx(each.metrics[name].width, rel=0.2)


def test_the_calibration_interval_reaches_zero_for_a_true_model_and_not_for_a_false_one() -> None:
    y, p, users, _ = sample(rows=20_000)
    true, false = evaluate(y, p, users).metrics["ece"], evaluate(y, p**2, users).metrics["ece"]
    assert true.low < 0.005 < false.low
    assert true.low <= true.value <= true.high


def test_comparing_a_model_with_itself_and_with_noise() -> None:
    y, p, users, _ = sample()
    rng = np.random.default_rng(3)
    noisy = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + rng.normal(0, 0.7, len(p)))))
    same = r.compare_response(y, p, p, users, rng=rng, draws=200)
    assert all(i == Interval(0, 0, 0) for i in same.values())
    found = r.compare_response(y, p, noisy, users, rng=rng, draws=300)
    assert found["auc"].value == pytest.approx(auc(y, p) - auc(y, noisy))
    gauc = group_auc(y, p, users) - group_auc(y, noisy, users)
    assert found["gauc"].value == pytest.approx(gauc)
    assert found["auc"].low > 0
    assert found["gauc"].low > 0
    assert found["log_loss"].high < 0
    assert found["normalised_entropy"].high < 0
    # Pairing matters: the difference is known better than either value.
    single = evaluate(y, p, users).metrics["gauc"].width
    assert found["gauc"].width < single


def test_json_goes_there_and_back() -> None:
    y, p, users, _ = sample()
    report = evaluate(y, p, users, protocol=replace(PROTOCOL, k=(10, 50)))
    again = r.Report.from_json(report.to_json())
    assert again == report
    assert json.loads(report.to_json())["metrics"]["auc"].keys() == {"value", "low", "high"}


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("seed"),
        lambda v: v.update(extra=1),
        lambda v: v.update(format=99),
        lambda v: v.pop("format"),
        lambda v: v["metrics"]["auc"].pop("low"),
        lambda v: v["protocol"].update(secret=1),
        lambda v: v.update(metrics=3),
    ],
)
def test_broken_json_is_no_report(change: object) -> None:
    y, p, users, _ = sample(rows=500, users=5)
    values = json.loads(evaluate(y, p, users, draws=20).to_json())
    change(values)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match="not a report"):
        r.Report.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_other_text_is_no_report(text: str) -> None:
    with pytest.raises(ArtifactError, match="not a report"):
        r.Report.from_json(text)


def test_the_table_shows_values_intervals_and_protocol() -> None:
    report = r.Report(
        metrics={"gauc": Interval(0.91234, 0.9, 0.925), "log_loss": Interval(-1.5, -2, 10.25)},
        protocol=replace(PROTOCOL, k=(10,)),
        data_hash="abc",
        seed=1,
        users=2469,
        rows=1_500_000,
        draws=1000,
    )
    assert report.table().splitlines() == [
        "measure     value   95% interval",
        "gauc       0.9123   0.9000 .. 0.9250",
        "log_loss  -1.5000  -2.0000 .. 10.2500",
        "",
        "users: 2,469   rows: 1,500,000   seed: 1   "
        "bootstrap over users, not over seeds, 1,000 draws",
        "split: train weeks 1-44, test weeks 49-53",
        "candidates: the impressions as logged",
        "ties: a tie counts one half",
        "seen items: not removed",
        "sampling: none: every row is used",
        "k: 10",
        "data: abc",
    ]


def test_wrong_inputs_are_named() -> None:
    y, p, users, _ = sample(rows=100)
    with pytest.raises(DataError, match="both classes"):
        evaluate(np.zeros(100, int), p, users)
    with pytest.raises(DataError, match=r"expected 100 rows.*users"):
        evaluate(y, p, [f"u{one}" for one in users[:-1]])
    with pytest.raises(DataError, match=r"user.*missing.*row 3"):
        evaluate(y, p, ["a", "b", "c", None] + ["d"] * 96)
    with pytest.raises(DataError, match=r"user.*missing.*row 1"):
        evaluate(y, p, pl.Series([1, None] + [2] * 98))
    with pytest.raises(DataError, match=r"expected 100 rows.*probs_b"):
        r.compare_response(y, p, p[:-1], users, rng=np.random.default_rng(0))
