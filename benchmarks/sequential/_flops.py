"""Floating-point operations of training the sequential models, counted from their formulas.

A product of [a, b] with [b, c] counts 2 a b c; a backward pass counts twice the forward one.
Causal attention is counted on the pairs that are seen. Embeddings, norms, activations and the
optimiser are left out: they move bytes rather than multiply.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.models.sequential.hstu import HSTUConfig
from adwright.models.sequential.losses import EXACT_BELOW
from adwright.models.sequential.sasrec import SASRecConfig

__all__ = ["training_flops"]


def training_flops(
    config: HSTUConfig | SASRecConfig, lengths: NDArray[np.int64], items: int, batch: int
) -> float:
    """Of one epoch over sequences of `lengths` (int64 [W]), `batch` a step, with a softmax over
    `items`."""
    tokens = float(lengths.sum())
    asked = tokens
    if config.loss.positions:
        asked = min(tokens, config.loss.positions * -(-len(lengths) // batch))
    pairs = float((lengths * (lengths + 1) / 2).sum())
    width = config.width
    match config:
        case HSTUConfig():
            qk, v = config.heads * config.qk_width, config.heads * config.v_width
            weights = width * (2 * v + 2 * qk) + v * width * (3 if config.concat else 1)
            seen = qk + v
        case SASRecConfig():
            weights = 4 * width**2 + 2 * width * (config.hidden or width)
            seen = 2 * width
    layer = 2 * weights * tokens + 2 * seen * pairs
    return 3 * (config.blocks * layer + 2 * asked * width * _candidates(config, items))


def _candidates(config: Any, items: int) -> int:
    """Items that each position is compared with."""
    exact = config.loss.kind == "exact" or (config.loss.kind == "auto" and items < EXACT_BELOW)
    if exact:
        return items
    return int(config.loss.negatives if config.loss.kind == "per_position" else config.loss.shared)
