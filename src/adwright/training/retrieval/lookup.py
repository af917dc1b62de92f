"""Embed the catalogue once and look item vectors up: a trained model without its item tower."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Lookup", "embed_catalogue", "with_vectors"]

M = TypeVar("M", bound=nn.Module)
_PART = 8192


class Lookup(nn.Module):
    """Maps item codes [N] to rows of a fixed table [V, D]."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Rows [N, D] of codes [N]."""
        return self.get_buffer("vectors")[codes]


def embed_catalogue(tower: nn.Module, items: int) -> Tensor:
    """Compute the vectors [V, D] of the item codes 0 to V - 1 in chunks."""
    with torch.inference_mode():
        starts = range(0, items, _PART)
        return torch.cat([tower(torch.arange(a, min(a + _PART, items))) for a in starts])


def with_vectors(model: M, vectors: Tensor) -> M:
    """Copy the model with a table in place of its submodule `item`; all other weights are shared
    with the model, which stays as it is."""
    served = copy.copy(model)
    # A copied module shares the dict of its submodules: give the copy its own.
    served._modules = {**model._modules, "item": Lookup(vectors)}
    return served
