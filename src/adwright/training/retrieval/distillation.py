"""Distillation targets: a finer ranker's scores of some candidates of some visits.

They are made once, before the training; a batch takes those of its visits. Visits without any are
trained on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.batches.jagged import Jagged
from adwright.data.ranges import ranges
from adwright.models.retrieval.multi_interest import Teacher

__all__ = ["DistillationTargets"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DistillationTargets:
    """Scored candidates of M visits.

    visit: int64 [M], numbers of visits of the task, ascending. item: int64 [P], item codes;
    visit m has those from offsets[m] to offsets[m + 1] (int64 [M + 1]). score: float32 [P],
    the finer ranker's logits.
    Raises ValueInvalidError where these do not fit, or a score is not finite.
    """

    visit: Ints
    offsets: Ints
    item: Ints
    score: NDArray[np.float32]

    def __post_init__(self) -> None:
        if (np.diff(self.visit) <= 0).any():
            raise ValueInvalidError("the visits of distillation targets ascend", column="visit")
        if len(self.offsets) != len(self.visit) + 1 or self.offsets[-1] != len(self.item):
            raise ValueInvalidError(
                "distillation targets are one list per visit",
                value=f"{len(self.visit)} visits, {len(self.offsets)} offsets",
            )
        if self.score.shape != self.item.shape or not np.isfinite(self.score).all():
            raise ValueInvalidError(
                "distillation targets have one finite score per candidate", column="score"
            )

    def of(self, visits: Ints) -> Teacher:
        """Select those of a batch's visits [B], in that order; empty where there are none."""
        at = np.minimum(np.searchsorted(self.visit, visits), max(len(self.visit) - 1, 0))
        known = self.visit[at] == visits if len(self.visit) else np.zeros(len(visits), bool)
        start = np.where(known, self.offsets[at], 0)
        size = np.where(known, self.offsets[np.minimum(at + 1, len(self.visit))] - start, 0)
        place, offsets = ranges(start, size)
        candidates = Jagged(
            torch.from_numpy(self.item[place]), torch.from_numpy(offsets.astype(np.int64))
        )
        return Teacher(candidates, torch.from_numpy(self.score[place]))

    @cached_property
    def hash(self) -> str:
        """Hash of all visits, candidates and scores."""
        arrays = (self.visit, self.offsets, self.item, self.score)
        return content_hash([sha256_bytes(array.tobytes()) for array in arrays])
