from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.data.batches.batch import Batch
from adwright.models.calibration import (
    Calibrator,
    EmbeddingConfig,
    IdentityCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    undo_negative_sampling,
)
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.union import CalibratedScorer, DenseScorer
from tests.support.models.small_batch import small_batch, small_spec

SMALL = DINConfig(mlp_hidden=(8, 4), embedding=EmbeddingConfig(width=4, scale=0.5))
VARIANTS = {
    "default": SMALL,
    "dice": replace(SMALL, attention_activation="dice"),
    "prelu": replace(SMALL, activation="prelu"),
    "softmax": replace(SMALL, weight="softmax"),
    "sum": replace(SMALL, interest="sum"),
    "no intensity": replace(SMALL, intensity=False),
    "sum without": replace(SMALL, interest="sum", intensity=False),
    "with base": replace(SMALL, base_share=0.25),
}


def trained(config: DINConfig) -> DIN:
    """A network whose weights and moving moments are those of no start."""
    spec, items = small_spec()
    torch.manual_seed(0)
    model = DIN(config, spec, items)
    for _ in range(3):
        model.loss(small_batch())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def dense_inputs(batch: Batch, row: int, pad: int = 0) -> tuple[Tensor, ...]:
    """One row of a batch as the dense network takes it, its history padded by `pad`."""
    owner = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
    seen = batch.history.to_lists()[owner][int(batch.begin[row]) : int(batch.end[row])]
    items, count = torch.unique(torch.tensor(seen, dtype=torch.int64), return_counts=True)
    empty = torch.zeros(pad, dtype=torch.int64)
    tags = batch.multi["tags"].to_lists()[row]
    lists = torch.tensor([[tags + [0] * (3 - len(tags))]], dtype=torch.int64)
    return (
        batch.item[row : row + 1],
        torch.cat([items, empty]),
        torch.cat([count, empty]).float(),
        batch.categorical["user_id"][row : row + 1, None],
        lists,
        batch.numeric[row : row + 1],
    )


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("pad", [0, 5])
def test_dense_is_jagged(name: str, pad: int) -> None:
    spec, _ = small_spec()
    model = trained(VARIANTS[name])
    dense = DenseScorer(model, spec)
    batch = small_batch()
    with torch.no_grad():
        expected = model(batch)
        found = torch.cat([dense(*dense_inputs(batch, row, pad)) for row in range(len(batch))])
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_several_ads_share_a_history() -> None:
    spec, _ = small_spec()
    dense = DenseScorer(trained(SMALL), spec)
    batch = small_batch()
    one, two = dense_inputs(batch, 5), dense_inputs(batch, 5)
    both = [
        torch.cat([a, b]) if at not in (1, 2) else a
        for at, (a, b) in enumerate(zip(one, two, strict=True))
    ]
    both[0] = torch.tensor([3, 11])
    with torch.no_grad():
        found = dense(*both)
        alone = dense(torch.tensor([3]), *one[1:])
    assert found[0] == pytest.approx(float(alone[0]), abs=1e-6)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "calibrator",
    [
        IdentityCalibrator(),
        PlattCalibrator(0.7, -0.3),
        TemperatureCalibrator(1.7),
        IsotonicCalibrator((0.01, 0.2, 0.2000001, 0.6), (0.02, 0.1, 0.3, 0.5)),
        IsotonicCalibrator((0.5,), (0.25,)),
    ],
)
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_probabilities_are_those_of_the_calibrator(calibrator: Calibrator, rate: float) -> None:
    spec, _ = small_spec()
    scorer = CalibratedScorer(DenseScorer(trained(SMALL), spec), rate, calibrator)
    batch = small_batch()
    with torch.no_grad():
        pairs = [scorer(*dense_inputs(batch, row)) for row in range(len(batch))]
    logits = torch.cat([logit for logit, _ in pairs])
    raw = torch.sigmoid(logits.double()).numpy()
    expected = calibrator(undo_negative_sampling(raw, rate))
    found = torch.cat([probability for _, probability in pairs]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
