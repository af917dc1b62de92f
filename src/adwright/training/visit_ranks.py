"""Sequential models asked about the visits of a next-basket task.

A visit is a person at a moment, and its history ends before that moment. Since a model of
sequences is causal, what it says at the last event of a history does not depend on what came
later, so one pass over a person's events answers all of that person's visits. Only where a
history is longer than the model reads, and is cut at another place for each visit, or where the
model speaks of the latest events alone, it is read once a visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.data.item_sequences import SequenceBatch
from adwright.data.jagged import Jagged
from adwright.data.next_basket import NextBasket
from adwright.data.ranges import ranges
from adwright.metrics.ranking import ndcg, recall
from adwright.models.hstu import HSTUConfig
from adwright.models.sequence_model import SequenceModel
from adwright.training.ranks import Scorer, retrieved_ranks

__all__ = ["visit_batch", "visit_queries", "visit_scorer", "visit_validation"]

Ints = NDArray[np.int64]
_SECOND = 1_000_000


def visit_batch(task: NextBasket, visits: Ints, max_length: int) -> SequenceBatch:
    """The latest `max_length` events before each of `visits` (int64 [B]), asked at its time."""
    first, end = task.user_offsets[task.visit_user[visits]], task.visit_end[visits]
    return _read(task, np.maximum(first, end - max_length), end, task.visit_time[visits])


def visit_queries(
    model: SequenceModel, task: NextBasket, visits: Ints, *, events: int = 65_536
) -> Tensor:
    """Vectors [B, D] of the people of `visits` (int64 [B]), over the temperature; zero where
    there is no history.

    events: about so many are read at once. The model is left in eval mode.
    """
    model.eval()
    user, end = task.visit_user[visits], task.visit_end[visits]
    length = end - task.user_offsets[user]
    found = torch.zeros(len(visits), model.config.width)
    longest = np.zeros(len(task.users), np.int64)
    np.maximum.at(longest, user, length)
    at_once = (longest[user] <= model.max_length) & (not _speaks_of_few(model))
    with torch.no_grad():
        people = np.unique(user[at_once & (length > 0)])
        for part in _parts(longest[people], events):
            chosen = people[part]
            rows = np.flatnonzero(at_once & (length > 0) & np.isin(user, chosen))
            found[rows] = _at_ends(model, task, chosen, longest[chosen], visits[rows])
        rest = np.flatnonzero(~at_once & (length > 0))
        for part in _parts(np.minimum(length[rest], model.max_length), events):
            batch = visit_batch(task, visits[rest[part]], model.max_length)
            found[rest[part]] = model.queries(batch)
    return found


def visit_scorer(model: SequenceModel, task: NextBasket) -> Scorer:
    """The scores of all items for `training.ranks`; item vectors are computed once, here. Visits
    of one person are best asked together, as they are where visits ascend."""
    with torch.no_grad():
        vectors = model.item_vectors(torch.arange(len(task.items)))

    def score(visits: Ints) -> Tensor:
        return visit_queries(model, task, visits) @ vectors.T

    return score


def visit_validation(
    model: SequenceModel,
    task: NextBasket,
    visits: Ints,
    *,
    depth: int = 50,
    k: int = 10,
) -> Callable[[], tuple[float, dict[str, float]]]:
    """For `fit_sequential`: recall among the first `depth` items, with NDCG@k, of `visits`
    (int64 [V]) whenever it is called; recall decides."""

    def measure() -> tuple[float, dict[str, float]]:
        ranks = retrieved_ranks(visit_scorer(model, task), task, visits, depth=depth).ranks()
        goal = recall(ranks, depth)
        return goal, {f"valid_recall@{depth}": goal, f"valid_ndcg@{k}": ndcg(ranks, k)}

    return measure


def _at_ends(
    model: SequenceModel, task: NextBasket, people: Ints, length: Ints, visits: Ints
) -> Tensor:
    """The vectors at the last events before `visits`, after one reading of each of `people`
    (int64 [P], ascending), whose first `length` events reach that far."""
    begin = task.user_offsets[people]
    # The last event read is the last before a visit, so that visit's time is what it knows.
    asked = np.zeros(len(people), np.int64)
    row = np.searchsorted(people, task.visit_user[visits])
    ends = task.visit_end[visits]
    latest = ends == (begin + length)[row]
    asked[row[latest]] = task.visit_time[visits[latest]]
    batch = _read(task, begin, begin + length, asked)
    encoded = model.encode(batch)
    place = batch.items.offsets.numpy()[row] + ends - begin[row] - 1
    return encoded.vectors[torch.from_numpy(place)] / model.config.loss.temperature


def _read(task: NextBasket, first: Ints, end: Ints, asked: Ints) -> SequenceBatch:
    """The events from `first` to `end` (int64 [B] each) of people who ask at `asked`
    (microseconds)."""
    place, offsets = ranges(first, end - first)
    return SequenceBatch.serving(
        Jagged(torch.from_numpy(task.item[place]), torch.from_numpy(offsets)),
        time=torch.from_numpy(task.time[place] // _SECOND),
        request_time=torch.from_numpy(asked // _SECOND),
        by_moment=True,
    )


def _parts(lengths: Ints, events: int) -> Iterator[Ints]:
    """Numbers of sequences, the long ones together, in parts of about `events` events."""
    order = np.argsort(-lengths, kind="stable")
    part = np.cumsum(lengths[order]) // events
    for start, end in _runs(part):
        yield np.sort(order[start:end])


def _runs(part: Ints) -> Iterator[tuple[int, int]]:
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    yield from ((a, b) for a, b in pairwise(bounds) if b > a)


def _speaks_of_few(model: SequenceModel) -> bool:
    config = model.config
    return isinstance(config, HSTUConfig) and config.truncate_to > 0
