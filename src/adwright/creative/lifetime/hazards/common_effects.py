"""What the units of a period had in common, told apart from what they were.

When many lives of a week end together (a season closes, a campaign is over), a network explains
that by the features that these units happen to share, which says nothing of other weeks. So in
training the logits of each landmark period have a part of their own, as strata have a baseline
hazard of their own in Cox's model; it is centred over the units, so that the network alone speaks
for the average period, and left out afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from adwright.creative.lifetime.spell_table import SpellTable

__all__ = ["CommonEffects"]


class CommonEffects(nn.Module):
    """A table [K, J * C] of logits for each head: K landmark periods of the training units.

    A period with fewer than `min_count` units has none of its own. sizes: J * C of each head.
    """

    def __init__(self, table: SpellTable, sizes: tuple[int, ...], min_count: int) -> None:
        super().__init__()
        periods, place = np.unique(table.start + np.floor(table.entry), return_inverse=True)
        count = np.bincount(place, minlength=len(periods))
        own = count >= min_count
        # Place 0 is that of all other periods, and stays 0.
        rows = np.where(own, np.cumsum(own), 0)[place]
        share = np.bincount(rows, minlength=int(own.sum()) + 1) / max(len(rows), 1)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("share", torch.from_numpy(share).float()[:, None], persistent=False)
        # One period alone differs from no other.
        kept = int(own.sum()) if own.sum() > 1 else 0
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(kept, size)) for size in sizes)

    def __len__(self) -> int:
        """How many periods have their own."""
        return len(self.tables[0])

    def forward(self, units: Tensor) -> tuple[Tensor, ...] | None:
        """What is added to the logits of each head, [B, J * C], for training units [B]."""
        if not len(self):
            return None
        rows, share = self.get_buffer("rows")[units], self.get_buffer("share")
        found = []
        for table in self.tables:
            padded = nn.functional.pad(table, (0, 0, 1, 0))
            found.append((padded - (share * padded).sum(0))[rows])
        return tuple(found)
