"""Candidates against a kept history in torch: runs everywhere, and says what `falcon_fused` must
give. The formula is in `falcon`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from adwright.models.falcon_history import History, Seen, layers_of
from adwright.models.hstu import HSTULayer
from adwright.models.hstu_ranking import HSTURanker
from adwright.models.hstu_spec import time_bucket

__all__ = ["history_bias", "judge", "own_bias", "places"]


def judge(model: HSTURanker, history: History, codes: Tensor, now: int) -> Tensor:
    """Vectors [m, D] of candidates int64 [m] before the model's head; now: seconds."""
    config = model.config
    x = model.candidates(codes, history.events)
    always = max(history.contexts, config.prefix)
    for layer, seen in zip(layers_of(model), history.layers, strict=True):
        parts = layer.project(x)
        far, admitted = places(len(seen), config.window, always)
        bias = history_bias(layer, seen, far, now)
        q = parts.q.transpose(0, 1)  # [H, m, Dqk]
        scores = layer.alpha * (q @ seen.k.permute(1, 2, 0)) + bias
        weights = functional.silu(scores, inplace=True).mul_(admitted)
        attended = (weights @ seen.v.transpose(0, 1)).transpose(0, 1)
        own = layer.alpha * (parts.q * parts.k).sum(-1) + own_bias(layer)
        attended = attended + functional.silu(own)[..., None] * parts.v
        x = layer.merge(parts.u, attended / layer.longest, x)
    return x


def places(tokens: int, window: int, always: int) -> tuple[Tensor, Tensor]:
    """(distance int64 [n], admitted bool [n]) of a candidate after n tokens."""
    place = torch.arange(tokens)
    distance = tokens - place
    if not window:
        return distance, torch.ones(tokens, dtype=torch.bool)
    return distance, (distance < window) | (place < always)


def history_bias(layer: HSTULayer, seen: Seen, distance: Tensor, now: int) -> Tensor:
    """rab_p + rab_t [n] of a candidate and each token; seconds `now`."""
    elapsed = None if seen.time is None else now - seen.time
    return _bias(layer, distance, elapsed)


def own_bias(layer: HSTULayer) -> Tensor:
    """rab_p + rab_t [1] of a candidate and itself."""
    return _bias(layer, torch.zeros(1, dtype=torch.int64), None)


def _bias(layer: HSTULayer, distance: Tensor, elapsed: Tensor | None) -> Tensor:
    """elapsed None stands for no time between."""
    bias = torch.zeros(len(distance))
    if layer.rab_p is not None:
        bias = bias + layer.rab_p[distance.clamp(max=len(layer.rab_p) - 1)]
    if layer.rab_t is not None:
        late = torch.zeros_like(distance) if elapsed is None else time_bucket(elapsed)
        bias = bias + layer.rab_t[late]
    return bias
