"""Ads as arrays: dense vectors, numbers, categories and bags of values, of B ads each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AdInputs"]


@dataclass(frozen=True, eq=False)
class AdInputs:
    """B ads as a model reads them.

    vectors: float32 [B, W_v] each, NaN in all places of an ad that lacks it. numbers: float32
    [B, N], standardised, NaN where missing. codes: int64 [B, C], of each category 0 where missing,
    1 where its value is unknown, else from 2 on. bags: float32 [B, V_b] each, the share of each
    value among those of the ad, all 0 where it has none.
    """

    vectors: tuple[Tensor, ...]
    numbers: Tensor
    codes: Tensor
    bags: tuple[Tensor, ...]

    def __len__(self) -> int:
        """B."""
        return len(self.numbers)

    def take(self, rows: Tensor | slice) -> AdInputs:
        """The ads `rows`, in their order."""
        return AdInputs(
            tuple(one[rows] for one in self.vectors),
            self.numbers[rows],
            self.codes[rows],
            tuple(one[rows] for one in self.bags),
        )

    def flat(self, sizes: tuple[int, ...]) -> Tensor:
        """float32 [B, D], what a linear rule reads. sizes: codes of each category.

        In this order: the vectors and the numbers, 0 where they are missing, each with a column
        that says so; a column of 0 and 1 for each code of a category; the bags.
        """
        columns = []
        for vector in self.vectors:
            missing = vector.isnan().any(1, keepdim=True)
            columns += [torch.where(missing, 0.0, vector), missing.float()]
        missing = self.numbers.isnan()
        columns += [torch.where(missing, 0.0, self.numbers), missing.float()]
        codes = torch.zeros(len(self), sum(sizes))
        start = 0
        for place, size in enumerate(sizes):
            codes.scatter_(1, self.codes[:, place : place + 1] + start, 1.0)
            start += size
        return torch.cat([*columns, codes, *self.bags], 1)
