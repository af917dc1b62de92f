from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.metrics.classification import auc, group_auc
from adwright.metrics.reports.comparison import MEASURES, Comparison, compare
from adwright.metrics.reports.report import EvaluationProtocol

N = 4000
RNG = np.random.default_rng(0)
USERS = np.sort(RNG.integers(0, 60, N))
TRUTH = RNG.beta(1, 6, N)
LABELS = (RNG.random(N) < TRUTH).astype(np.int8)
MODELS = {
    "noisy": np.clip(TRUTH + RNG.normal(0, 0.2, N), 0.001, 0.999),
    "true": TRUTH,
    "flat": np.full(N, LABELS.mean()),
}


def comparison(**more: object) -> Comparison:
    options: dict[str, object] = {"subject": "true", "draws": 60, "seed": 1, **more}
    return compare(
        LABELS,
        MODELS,
        USERS,
        protocol=EvaluationProtocol(split="made up"),
        data_hash="d",
        **options,  # type: ignore[arg-type]
    )


def test_values_are_those_of_the_metrics() -> None:
    found = comparison()
    for name, probabilities in MODELS.items():
        assert found.reports[name].metrics["auc"].value == pytest.approx(auc(LABELS, probabilities))
        gauc = group_auc(LABELS, probabilities, USERS)
        assert found.reports[name].metrics["gauc"].value == pytest.approx(gauc)


def test_differences_are_paired_and_signed() -> None:
    found = comparison()
    assert list(found.differences) == ["noisy", "flat"]
    lead = found.differences["noisy"]["gauc"]
    values = {name: report.metrics["gauc"].value for name, report in found.reports.items()}
    assert lead.value == pytest.approx(values["true"] - values["noisy"])
    assert lead.low > 0
    # Paired draws leave less doubt than the two intervals side by side.
    assert lead.width < found.reports["true"].metrics["gauc"].width * 2
    assert found.differences["noisy"]["log_loss"].high < 0


def test_each_argument_counts() -> None:
    assert comparison(seed=2) != comparison()
    assert comparison() == comparison()
    assert comparison(draws=30).reports["true"].draws == 30
    assert list(comparison(against=["flat"]).differences) == ["flat"]
    assert comparison(subject="noisy").differences["true"]["gauc"].high < 0
    with pytest.raises(ConfigError, match="choose among noisy, true, flat"):
        comparison(subject="other")


def test_the_table_has_a_line_a_model() -> None:
    lines = comparison().table().splitlines()
    assert [line.split()[0] for line in lines] == ["model", "noisy", "true", "flat"]
    assert all(name in lines[0] for name in MEASURES.values())
    assert "+0." in lines[1]
    assert [line.count("+") for line in lines] == [0, 3, 0, 3]


def test_json_round_trip_and_refusal() -> None:
    found = comparison()
    assert Comparison.from_json(found.to_json()) == found
    for text in ("", "[]", "{}", '{"format": 9}', found.to_json().replace('"low"', '"lower"')):
        with pytest.raises(ArtifactError, match=r"not a (comparison|report)"):
            Comparison.from_json(text)
