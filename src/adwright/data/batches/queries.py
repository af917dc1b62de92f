"""What a retrieval model receives: users, each with one history, and what they took next.

A ranking batch asks about given items; a retrieval batch asks about the whole catalogue, so it
names no candidates. A query is a user at a moment: everything before it, how long ago that
was, and codes of the profile and of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged


@dataclass(frozen=True)
class QueryBatch:
    """U queries.

    history: Jagged int64, U lists of item codes, oldest first; code 0 is an unknown item.
    age: float32 [E], days between each event of the histories and its query, not negative.
    profile: int64 [U, F], codes of the profile and context features; 0 is unknown.
    targets: Jagged int64, the distinct items that were taken next; empty lists when serving.
    """

    history: Jagged
    age: Tensor
    profile: Tensor
    targets: Jagged

    def __post_init__(self) -> None:
        rows = len(self.history)
        if self.profile.shape[0] != rows or len(self.targets) != rows:
            raise ValueInvalidError(
                "a query batch needs one history, profile and list of targets a query",
                value=f"{rows} histories, {self.profile.shape[0]} profiles, "
                f"{len(self.targets)} lists of targets",
            )
        if self.age.shape != self.history.values.shape:
            raise ValueInvalidError(
                "a query batch needs one age an event",
                value=f"{self.age.numel()} ages, {self.history.values.numel()} events",
            )

    def __len__(self) -> int:
        return len(self.history)

    def by_place(self) -> QueryBatch:
        """The same with places for ages, where data has no times: 1 for a user's latest event."""
        bounds = self.history.offsets
        end = torch.repeat_interleave(bounds[1:], bounds[1:] - bounds[:-1])
        return replace(self, age=(end - torch.arange(len(end))).float())

    @classmethod
    def serving(cls, history: Jagged, age: Tensor, profile: Tensor) -> QueryBatch:
        """Queries whose outcome is not known yet."""
        nothing = Jagged(
            torch.zeros(0, dtype=torch.int64), torch.zeros(len(history) + 1, dtype=torch.int64)
        )
        return cls(history, age, profile, nothing)
