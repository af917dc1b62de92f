"""The two rules that a sequence model has to beat: popularity and personal frequency.

    popularity   how often training events were of an item
    frequency    how often the user had the item before; ties, and what the user never had, by
                 popularity

Ties of popularity are ordered by item code, so no two items share a rank.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.data.ranges import ranges
from adwright.data.sequences.item_sequences import Held, ItemSequences
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranks import Ranks, ranks_of_positives
from adwright.training.retrieval.ranks import Scorer

__all__ = ["Rule", "rank_by_rule", "visit_rule"]

Rule = Literal["popularity", "frequency"]
Ints = NDArray[np.int64]


def visit_rule(rule: Rule, task: NextBasket) -> Scorer:
    """Make a scorer of all items for `retrieved_ranks`: float64, count plus a popularity below
    1."""
    places = torch.from_numpy(_places(task.count))

    def score(visits: Ints) -> Tensor:
        first, end = task.user_offsets[task.visit_user[visits]], task.visit_end[visits]
        return torch.from_numpy(_scores(rule, places.numpy(), task.item, first, end))

    return score


def rank_by_rule(
    rule: Rule, sequences: ItemSequences, split: Held, people: Ints, *, unseen: bool
) -> Ranks:
    """Ranks of the held targets of `people` (int64 [P]), as `rank_next` gives them for a model.

    unseen: what a user had is no candidate; then `people` are those whose target is new.
    """
    places = _places(sequences.count)
    target, end = sequences.held(split)
    parts = []
    for at in range(0, len(people), 256):
        some = people[at : at + 256]
        scores = _scores(rule, places, sequences.item, sequences.offsets[some], end[some])[:, 1:]
        mask = None
        if unseen:
            codes, bounds = sequences.seen(some, split)
            mask = np.zeros(scores.shape, dtype=bool)
            mask[np.repeat(np.arange(len(some)), np.diff(bounds)), codes - 1] = True
        wanted = sequences.item[target[some]] - 1
        parts.append(ranks_of_positives(scores, wanted, seen=mask, seed=at))
    return Ranks(
        np.concatenate([part.ranks for part in parts]),
        np.arange(len(people) + 1),
        np.concatenate([part.tied for part in parts]),
        "hash",
    )


def _scores(
    rule: Rule, places: NDArray[np.float64], item: Ints, first: Ints, end: Ints
) -> NDArray[np.float64]:
    """Scores [B, N + 1] of histories that are the events from `first` to `end` (int64 [B])."""
    scores = np.tile(places, (len(first), 1))
    if rule == "frequency":
        place, offsets = ranges(first, end - first)
        owner = np.repeat(np.arange(len(first)), np.diff(offsets))
        np.add.at(scores, (owner, item[place]), 1.0)
    return scores


def _places(count: Ints) -> NDArray[np.float64]:
    """Popularity as distinct values in [0, 1)."""
    places = np.empty(len(count))
    places[np.argsort(count, kind="stable")] = np.arange(len(count)) / len(count)
    return places
