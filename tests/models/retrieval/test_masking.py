"""Mutual information and masks against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.models.retrieval.masking import hidden_features, mutual_information, single_codes
from tests.support.data.small_next_basket import small_task


def _literal(codes: np.ndarray, i: int, j: int) -> float:
    n, total = len(codes), 0.0
    for a in set(codes[:, i].tolist()):
        for b in set(codes[:, j].tolist()):
            both = sum(1 for row in codes if row[i] == a and row[j] == b) / n
            if both:
                p = sum(1 for row in codes if row[i] == a) / n
                q = sum(1 for row in codes if row[j] == b) / n
                total += both * math.log(both / (p * q))
    return total


def test_it_equals_the_formula() -> None:
    codes = np.random.default_rng(0).integers(0, 3, (40, 4))
    codes[:, 3] = codes[:, 0]  # says the same
    found = mutual_information(codes)
    for i in range(4):
        for j in range(4):
            assert found[i, j] == pytest.approx(_literal(codes, i, j))
    assert found[0, 3] == pytest.approx(found[0, 0])


def test_independent_features_share_nothing() -> None:
    codes = np.stack(np.meshgrid(np.arange(4), np.arange(5)), -1).reshape(-1, 2)
    assert mutual_information(codes)[0, 1] == pytest.approx(0)


def test_correlated_features_are_hidden_together() -> None:
    information = np.array(
        [[2.0, 1.0, 0.1, 0.0], [1.0, 2.0, 0.0, 0.2], [0.1, 0.0, 2.0, 0.9], [0.0, 0.2, 0.9, 2.0]]
    )
    rng = np.random.default_rng(0)
    found = {tuple(hidden_features("correlated", information, rng)) for _ in range(200)}
    # Each seed with its two nearest.
    assert found == {
        (True, True, True, False),
        (True, True, False, True),
        (True, False, True, True),
        (False, True, True, True),
    }


def test_random_masks_hide_half() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([hidden_features("random", np.zeros((5, 5)), rng) for _ in range(400)])
    assert set(masks.sum(1)) == {2}
    assert np.abs(masks.mean(0) - 0.4).max() < 0.1


def test_two_features_are_needed() -> None:
    with pytest.raises(ConfigError, match="1 features"):
        hidden_features("random", np.zeros((1, 1)), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least one item"):
        mutual_information(np.zeros((0, 2), np.int64))


def test_a_list_counts_as_the_set_of_its_values() -> None:
    codes = single_codes(small_task().items)
    assert codes.shape == (12, 4)
    assert len(np.unique(codes[:, 3])) == 12  # w of 3 kinds and v of 5, all pairs differ
