"""Queries, scores and validation of sequence models at the visits of a next-basket task.

A visit is a user at a moment, and its history ends before that moment. Since a sequence model is
causal, its output at the last event of a history does not depend on what came later, so one pass
over a user's events serves all visits of that user. Only where a history is longer than the model
reads, and is cut at another place per visit, or where the last layer sees the latest events alone,
it is read once per visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.data.batches.jagged import Jagged
from adwright.data.ranges import ranges
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.metrics.ranking import ndcg, recall
from adwright.models.sequential.repeats import Own, own_items
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.retrieval.ranks import Scorer, retrieved_ranks

__all__ = ["visit_batch", "visit_queries", "visit_scorer", "visit_validation"]

Ints = NDArray[np.int64]


def visit_batch(task: NextBasket, visits: Ints, max_length: int) -> SequenceBatch:
    """Batch the latest `max_length` events before each of `visits` (int64 [B]), at its time."""
    first, end = task.user_offsets[task.visit_user[visits]], task.visit_end[visits]
    return _read(task, np.maximum(first, end - max_length), end, task.visit_time[visits])


def visit_queries(
    model: SequenceModel, task: NextBasket, visits: Ints, *, events: int = 65_536
) -> Tensor:
    """Queries [B, D] of `visits` (int64 [B]), see `SequenceModel.queries`.

    events: about so many per pass. The model is left in eval mode.
    """
    found = model.asking(torch.zeros(len(visits), model.config.width))
    for read in _readings(model, task, visits, events):
        found[read.rows] = model.asking(read.vectors)
    return found


def visit_scorer(model: SequenceModel, task: NextBasket) -> Scorer:
    """Make a scorer of all items for `retrieved_ranks`; item vectors are computed once, here.
    Ascending visits are fastest, as those of one user then come together."""
    with torch.no_grad():
        items = model.item_vectors(torch.arange(len(task.items)))

    def score(visits: Ints) -> Tensor:
        nothing = model.asking(torch.zeros(len(visits), model.config.width))
        scores = nothing @ items.T
        for read in _readings(model, task, visits):
            scores[read.rows] = model.asking(read.vectors) @ items.T
            if model.repeats is None:
                continue
            for person in np.unique(read.person):
                mine = np.flatnonzero(read.person == person)
                event = torch.from_numpy(read.event[mine])
                # Several visits of one moment are one row of the own items.
                moments, which = torch.unique(event, return_inverse=True)
                own = own_items(read.batch, int(person), moments)
                own = Own(own.codes, own.cell[which])
                vectors = read.vectors[mine]
                terms = model.repeats.terms(vectors, model.asking(vectors), items[own.codes], own)
                at = torch.from_numpy(read.rows[mine])[:, None]
                scores[at, own.codes] += terms
        return scores

    return score


def visit_validation(
    model: SequenceModel,
    task: NextBasket,
    visits: Ints,
    *,
    depth: int = 50,
    k: int = 10,
) -> Callable[[], tuple[float, dict[str, float]]]:
    """Make a validation for `fit_sequential`: recall@depth, which decides, and NDCG@k of `visits`
    (int64 [V])."""

    def measure() -> tuple[float, dict[str, float]]:
        ranks = retrieved_ranks(visit_scorer(model, task), task, visits, depth=depth).ranks()
        goal = recall(ranks, depth)
        return goal, {f"valid_recall@{depth}": goal, f"valid_ndcg@{k}": ndcg(ranks, k)}

    return measure


class _Reading(NamedTuple):
    """Vectors of some visits. rows: int64 [R], which of those asked. vectors: unit vectors [R, D].
    person, event: int64 [R], the sequence and event of the batch that each was read at."""

    rows: Ints
    vectors: Tensor
    batch: SequenceBatch
    person: Ints
    event: Ints


def _readings(
    model: SequenceModel, task: NextBasket, visits: Ints, events: int = 65_536
) -> Iterator[_Reading]:
    """Read all of `visits` that have a history, some at a time."""
    model.eval()
    user, end = task.visit_user[visits], task.visit_end[visits]
    length = end - task.user_offsets[user]
    longest = np.zeros(len(task.users), np.int64)
    np.maximum.at(longest, user, length)
    at_once = (longest[user] <= model.max_length) & (not model.config.truncates)
    with torch.no_grad():
        people = np.unique(user[at_once & (length > 0)])
        for part in _parts(longest[people], events):
            chosen = people[part]
            rows = np.flatnonzero(at_once & (length > 0) & np.isin(user, chosen))
            yield _of_people(model, task, chosen, longest[chosen], visits, rows)
        alone = np.flatnonzero(~at_once & (length > 0))
        for part in _parts(np.minimum(length[alone], model.max_length), events):
            rows = alone[part]
            batch = visit_batch(task, visits[rows], model.max_length)
            encoded = model.encode(batch)
            event = batch.items.offsets[1:] - 1
            vectors = encoded.vectors[torch.searchsorted(encoded.event, event)]
            yield _Reading(rows, vectors, batch, np.arange(len(rows)), event.numpy())


def _of_people(
    model: SequenceModel, task: NextBasket, people: Ints, length: Ints, visits: Ints, rows: Ints
) -> _Reading:
    """Read visits `rows` of `people` (int64 [P], ascending) off one pass over the first `length`
    events of each."""
    begin = task.user_offsets[people]
    row = np.searchsorted(people, task.visit_user[visits[rows]])
    ends = task.visit_end[visits[rows]]
    # The last event read is the last before a visit, so it is asked at that visit's time.
    asked = np.zeros(len(people), np.int64)
    latest = ends == (begin + length)[row]
    asked[row[latest]] = task.visit_time[visits[rows[latest]]]
    batch = _read(task, begin, begin + length, asked)
    event = batch.items.offsets.numpy()[row] + ends - begin[row] - 1
    vectors = model.encode(batch).vectors[torch.from_numpy(event)]
    return _Reading(rows, vectors, batch, row, event)


def _read(task: NextBasket, first: Ints, end: Ints, asked: Ints) -> SequenceBatch:
    """The events from `first` to `end` (int64 [B] each) of users who ask at `asked`
    (microseconds)."""
    place, offsets = ranges(first, end - first)
    return SequenceBatch.serving(
        Jagged(torch.from_numpy(task.item[place]), torch.from_numpy(offsets)),
        time=torch.from_numpy(task.time[place] // MICROSECONDS_PER_SECOND),
        request_time=torch.from_numpy(asked // MICROSECONDS_PER_SECOND),
        by_moment=True,
    )


def _parts(lengths: Ints, events: int) -> Iterator[Ints]:
    """Divide sequences into parts of about `events` events, the long ones together."""
    order = np.argsort(-lengths, kind="stable")
    part = np.cumsum(lengths[order]) // events
    for start, end in _runs(part):
        yield np.sort(order[start:end])


def _runs(part: Ints) -> Iterator[tuple[int, int]]:
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    yield from ((a, b) for a, b in pairwise(bounds) if b > a)
