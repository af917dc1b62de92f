"""A trained model whose item tower is done: the catalogue is embedded once and then looked up."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Lookup", "embed_catalogue", "with_vectors"]

M = TypeVar("M", bound=nn.Module)
_PART = 8192


class Lookup(nn.Module):
    """Item codes [N] to rows of a fixed table [V, D]."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """[N, D]."""
        return self.get_buffer("vectors")[codes]


def embed_catalogue(tower: nn.Module, items: int) -> Tensor:
    """Vectors [V, D] of the item codes 0 to V - 1, some thousand at a time."""
    with torch.inference_mode():
        starts = range(0, items, _PART)
        return torch.cat([tower(torch.arange(a, min(a + _PART, items))) for a in starts])


def with_vectors(model: M, vectors: Tensor) -> M:
    """The model with a table in place of its submodule `item`. Every other weight is shared
    with the model, which stays as it is."""
    served = copy.copy(model)
    # Copying a module shares the mapping of its submodules: give the copy one of its own.
    served._modules = {**model._modules, "item": Lookup(vectors)}
    return served
