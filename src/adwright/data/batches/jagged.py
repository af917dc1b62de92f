"""Lists of different lengths, laid end to end: the values, and where each list begins.

A history of 12 events beside one of 4,000 costs 4,012 values and not 8,000. Rows stay in this
form from the Parquet file to the loss; `to_padded` exists for the operators that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from adwright.core.errors import ValueInvalidError


@dataclass(frozen=True)
class Jagged:
    """U lists: list u is `values[offsets[u] : offsets[u + 1]]`.

    values: Tensor [E, ...], the lists one after another.
    offsets: int64 Tensor [U + 1], from 0 to E, never falling.
    """

    values: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets.dtype != torch.int64 or offsets.dim() != 1 or offsets.numel() == 0:
            raise ValueInvalidError(
                "offsets must be a one-dimensional int64 tensor of at least one element",
                value=f"{offsets.dtype} {list(offsets.shape)}",
            )
        last = int(offsets[-1])
        falls = bool((offsets[1:] < offsets[:-1]).any())
        if int(offsets[0]) != 0 or last != self.values.shape[0] or falls:
            raise ValueInvalidError(
                "offsets must run from 0 to the number of values without falling",
                value=f"{self.values.shape[0]} values, offsets to {last}",
            )

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    @property
    def lengths(self) -> Tensor:
        """int64 [U], the length of each list."""
        return self.offsets[1:] - self.offsets[:-1]

    def to_lists(self) -> list[list[float]]:
        """The lists as Python lists, for tests and for showing."""
        bounds = self.offsets.tolist()
        return [self.values[start:end].tolist() for start, end in pairwise(bounds)]

    def to_padded(self, *, fill: float = 0) -> tuple[Tensor, Tensor]:
        """(padded [U, L, ...], mask bool [U, L]) with L the longest list, at least 1."""
        lengths = self.lengths
        longest = max(int(lengths.max()) if len(self) else 0, 1)
        local = torch.arange(longest, device=lengths.device)
        mask = local < lengths[:, None]
        shape = (len(self), longest, *self.values.shape[1:])
        padded = self.values.new_full(shape, fill)
        padded[mask] = self.values
        return padded, mask

    def owner(self) -> Tensor:
        """int64 [E], for each value the list it belongs to."""
        people = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(people, self.lengths)

    def select(self, rows: Tensor) -> Jagged:
        """The lists `rows` (int64 [R]), in that order, repeats allowed."""
        lengths = self.lengths[rows]
        offsets = lengths_to_offsets(lengths)
        shift = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths)
        local = torch.arange(int(offsets[-1]), device=offsets.device)
        return Jagged(self.values[local + shift], offsets)


def lengths_to_offsets(lengths: Tensor) -> Tensor:
    """int64 [U] lengths to int64 [U + 1] offsets."""
    offsets = torch.zeros(lengths.numel() + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return offsets
