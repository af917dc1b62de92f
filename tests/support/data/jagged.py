"""Lists as one Jagged."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from adwright.data.batches.jagged import Jagged, lengths_to_offsets


def jagged(lists: Sequence[Sequence[float]], *, dtype: torch.dtype = torch.int64) -> Jagged:
    """The lists as one Jagged of `dtype`."""
    flat = [value for one in lists for value in one]
    lengths = torch.tensor([len(one) for one in lists], dtype=torch.int64)
    return Jagged(torch.tensor(flat, dtype=dtype), lengths_to_offsets(lengths))
