"""Rank of the item that a user took next among all items of the catalogue.

Every item is a candidate but those that the user had before; none is sampled. Ties are ordered by a
hash, and their share is part of the result (`metrics.ranks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.item_sequences import Held, ItemSequences, SequenceBatch
from adwright.metrics.ranks import Ranks, ranks_of_positives
from adwright.models.sequential.sequence_model import SequenceModel

__all__ = ["NextItemModel", "NextRanks", "rank_next"]

Ints = NDArray[np.int64]


class NextItemModel(Protocol):
    """Protocol of a model of the next item (also an nn.Module)."""

    @property
    def max_length(self) -> int:
        """How many of the latest events the model reads."""

    def queries(self, batch: SequenceBatch) -> Tensor:
        """Vectors [U, D] of the users of a batch."""

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Vectors [N, D] of item codes int64 [N]."""

    def eval(self) -> object:
        """Switch dropout off."""


@dataclass(frozen=True)
class NextRanks:
    """people: int64 [P], the users that were ranked for. ranks: of their one target each, in that
    order. skipped: how many were left out because they had their target before."""

    people: Ints
    ranks: Ranks
    skipped: int


def rank_next(
    model: NextItemModel,
    sequences: ItemSequences,
    split: Held,
    *,
    people: Ints | None = None,
    unseen: bool = True,
    chunk: int = 256,
) -> NextRanks:
    """Ranks of the held targets among all items; the model is left in eval mode.

    people: int64 [P] of `sequences.people(split)`; None for all of them. unseen: what a user had
    before is no candidate, and users who take such an item again are left out. chunk: users per
    pass.
    Raises ValueInvalidError where no user is left.
    """
    asked = sequences.people(split) if people is None else people
    before = len(asked)
    if unseen:
        asked = asked[~_had(sequences, asked, split)]
    if not len(asked):
        raise ValueInvalidError(
            f"nobody has a target in {split} that they did not have before",
            hint="rank with unseen=False where users take items again",
        )
    model.eval()
    target = sequences.targets(asked, split)
    parts = []
    with torch.no_grad():
        vectors = model.item_vectors(torch.arange(1, sequences.items + 1))
        for at in range(0, len(asked), chunk):
            some = asked[at : at + chunk]
            batch = sequences.questions(some, split, max_length=model.max_length)
            queries = model.queries(batch)
            scores = (queries @ vectors.T).float()
            if isinstance(model, SequenceModel):
                row, codes, terms = model.own_terms(batch, queries)
                known = codes > 0
                scores[row[known], codes[known] - 1] += terms[known]
            mask = _mask(sequences, some, split) if unseen else None
            found = ranks_of_positives(
                scores.numpy(), target[at : at + chunk] - 1, seen=mask, seed=at
            )
            parts.append(found)
    return NextRanks(
        asked,
        Ranks(
            np.concatenate([p.ranks for p in parts]),
            np.arange(len(asked) + 1),
            np.concatenate([p.tied for p in parts]),
            "hash",
        ),
        before - len(asked),
    )


def _mask(sequences: ItemSequences, people: Ints, split: Held) -> NDArray[np.bool_]:
    """Mask of what each user had before, bool [P, N]."""
    codes, bounds = sequences.seen(people, split)
    mask = np.zeros((len(people), sequences.items), dtype=bool)
    mask[np.repeat(np.arange(len(people)), np.diff(bounds)), codes - 1] = True
    return mask


def _had(sequences: ItemSequences, people: Ints, split: Held) -> NDArray[np.bool_]:
    """Mask of the users who had their target before, bool [P]."""
    codes, bounds = sequences.seen(people, split)
    owner = np.repeat(np.arange(len(people)), np.diff(bounds))
    hit = codes == sequences.targets(people, split)[owner]
    return np.bincount(owner[hit], minlength=len(people)) > 0
