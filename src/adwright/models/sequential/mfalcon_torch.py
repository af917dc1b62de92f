"""M-FALCON in torch: runs everywhere, and is the reference for `mfalcon_fused`. The formula is in
`mfalcon`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adwright.models.kernels.attention_spec import time_bucket
from adwright.models.sequential.hstu import HSTULayer
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon_cache import History, layers_of

__all__ = ["LayerMask", "layer_masks", "own_bias", "score_candidates"]


@dataclass(frozen=True)
class LayerMask:
    """Which of the n tokens of a layer a candidate sees, and from how far: distance int64 [n];
    admitted bool [n]; bucket int64 [n] of the time between, 0 where the tokens have no times."""

    distance: Tensor
    admitted: Tensor
    bucket: Tensor

    @classmethod
    def of(cls, time: Tensor | None, tokens: int, now: int, window: int, always: int) -> LayerMask:
        """Mask n tokens at time int64 [n] or None, seen at time `now`; window: see `HSTUConfig`;
        always: first tokens that it never hides."""
        place = torch.arange(tokens)
        distance = tokens - place
        admitted = torch.ones(tokens, dtype=torch.bool)
        if window:
            admitted = (distance < window) | (place < always)
        bucket = torch.zeros_like(place) if time is None else time_bucket(now - time)
        return cls(distance, admitted, bucket)

    def bias(self, layer: HSTULayer) -> Tensor:
        """rab_p + rab_t [n]."""
        return layer.biased(torch.zeros(len(self.distance)), self.distance, self.bucket)


def layer_masks(model: HSTURanker, history: History, now: int) -> list[LayerMask]:
    """Masks and time buckets per layer for candidates at time `now`, in seconds."""
    config = model.config
    always = max(history.contexts, config.prefix)
    found: list[LayerMask] = []
    for seen in history.layers:
        # Only a truncation changes what there is to see.
        if found and len(found[-1].distance) == len(seen):
            found.append(found[-1])
        else:
            time = seen.time if config.time else None
            found.append(LayerMask.of(time, len(seen), now, config.window, always))
    return found


def score_candidates(
    model: HSTURanker, history: History, codes: Tensor, masks: list[LayerMask]
) -> Tensor:
    """Vectors [m, D] of candidates int64 [m] before the model's head; masks: of `layer_masks`."""
    x = model.candidates(codes, history.events)
    for layer, seen, mask in zip(layers_of(model), history.layers, masks, strict=True):
        parts = layer.project(x)
        q = parts.q.transpose(0, 1)  # [H, m, Dqk]
        scores = layer.alpha * (q @ seen.k.permute(1, 2, 0)) + mask.bias(layer)
        weights = functional.silu(scores, inplace=True).mul_(mask.admitted)
        attended = (weights @ seen.v.transpose(0, 1)).transpose(0, 1)
        own = layer.alpha * (parts.q * parts.k).sum(-1) + own_bias(layer)
        attended = attended + functional.silu(own)[..., None] * parts.v
        x = layer.merge(parts.u, attended / layer.longest, x)
    return x


def own_bias(layer: HSTULayer) -> Tensor:
    """rab_p + rab_t [1] of a candidate and itself."""
    nothing = torch.zeros(1, dtype=torch.int64)
    return layer.biased(torch.zeros(1), nothing, nothing)
