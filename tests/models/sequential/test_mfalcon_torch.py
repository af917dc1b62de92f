"""Candidates against a kept history, by the formula in loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adwright.models.kernels.attention_spec import time_bucket
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.models.sequential.mfalcon import (
    LayerHistory,
    LayerMask,
    layer_masks,
    layers_of,
    own_bias,
    read_history,
    score_candidates,
)
from tests.models.sequential.test_hstu_ranker import ALL, CONFIG
from tests.models.sequential.test_mfalcon import CODES, LATE, model_of, person_of


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, window=5, prefix=2), replace(ALL, truncate_to=6)]
)
def test_one_layer_follows_the_formula(config: HSTURankerConfig) -> None:
    model = model_of(replace(config, blocks=1, truncate_after=0, truncate_to=0))
    history = read_history(model, person_of(3, 7))
    (layer,), (seen,) = layers_of(model), history.layers
    found = score_candidates(model, history, CODES, layer_masks(model, history, LATE))
    always = max(history.contexts, config.prefix)
    assert layer.rab_p is not None
    assert layer.rab_t is not None
    assert seen.time is not None
    for code, row in zip(CODES[:3], found, strict=False):
        x = model.candidates(code[None], history.events)
        parts = layer.project(x)
        total = torch.zeros(config.heads, config.v_width)
        for h in range(config.heads):
            for j in range(len(seen)):
                distance = len(seen) - j
                if config.window and distance >= config.window and j >= always:
                    continue
                bias = layer.rab_p[distance] + layer.rab_t[time_bucket(LATE - seen.time[j])]
                s = layer.alpha * parts.q[0, h] @ seen.k[j, h] + bias
                total[h] += s * torch.sigmoid(s) * seen.v[j, h]
            s = layer.alpha * parts.q[0, h] @ parts.k[0, h] + layer.rab_p[0] + layer.rab_t[0]
            total[h] += s * torch.sigmoid(s) * parts.v[0, h]
        wanted = layer.merge(parts.u, total[None] / layer.longest, x)[0]
        torch.testing.assert_close(row, wanted, rtol=1e-5, atol=1e-5)


def test_what_a_window_leaves() -> None:
    mask = LayerMask.of(None, 6, 0, 3, 2)
    assert mask.distance.tolist() == [6, 5, 4, 3, 2, 1]
    assert mask.admitted.tolist() == [True, True, False, False, True, True]
    assert not mask.bucket.any()
    assert LayerMask.of(None, 4, 0, 0, 0).admitted.all()
    late = LayerMask.of(torch.tensor([5, 90]), 2, 100, 0, 0)
    assert late.bucket.tolist() == [int(time_bucket(torch.tensor(s))) for s in (95, 10)]


def test_layers_that_see_the_same_share_how() -> None:
    model = model_of(replace(CONFIG, blocks=4, truncate_after=2, truncate_to=6))
    found = layer_masks(model, read_history(model, person_of(3, 7)), LATE)
    assert [len(mask.distance) for mask in found] == [14, 14, 5, 5]
    assert found[0] is found[1]
    assert found[2] is found[3]


def test_a_candidate_is_no_time_away_from_itself() -> None:
    (layer, *_) = layers_of(model_of())
    assert layer.rab_p is not None
    assert layer.rab_t is not None
    assert torch.equal(own_bias(layer)[0], layer.rab_p[0] + layer.rab_t[0])
    (bare, *_) = layers_of(model_of(replace(CONFIG, time=False, position=False)))
    assert own_bias(bare).tolist() == [0.0]


def test_an_event_hidden_by_the_window_changes_nothing() -> None:
    """The mask at work: K and V of hidden tokens may be anything."""
    model = model_of(replace(CONFIG, blocks=1, window=5, prefix=2))
    history = read_history(model, person_of(3, 7))
    masks = layer_masks(model, history, LATE)
    before = score_candidates(model, history, CODES, masks)
    (seen,) = history.layers
    hidden = ~masks[0].admitted
    assert 0 < int(hidden.sum()) < len(hidden)

    def moved(where: torch.Tensor) -> torch.Tensor:
        k = seen.k + 10.0 * where[:, None, None]
        layers = (LayerHistory(k, seen.v, seen.time),)
        return score_candidates(model, replace(history, layers=layers), CODES, masks)

    assert torch.equal(moved(hidden), before)
    assert not torch.allclose(moved(~hidden), before)


def test_candidates_do_not_see_each_other() -> None:
    model = model_of()
    history = read_history(model, person_of(3, 7))
    masks = layer_masks(model, history, LATE)
    together = score_candidates(model, history, CODES, masks)
    for row, code in enumerate(CODES):
        alone = score_candidates(model, history, code[None], masks)[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-5, atol=1e-6)
