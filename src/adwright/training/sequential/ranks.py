"""Rank of the item that a user took next among all items of the catalogue.

Every item is a candidate but those that the user had before; none is sampled. Ties are ordered by a
hash, and their share is part of the result (`metrics.ranking`).

Queries, scores and validation of sequence models at the visits of a next-basket task.

A visit is a user at a moment, and its history ends before that moment. Since a sequence model is
causal, its output at the last event of a history does not depend on what came later, so one pass
over a user's events serves all visits of that user. Only where a history is longer than the model
reads, and is cut at another place per visit, or where the last layer sees the latest events alone,
it is read once per visit.

Validate a sequence model on the held events: a goal, higher is better, and measures.

A retriever of the next item: NDCG@k over the whole catalogue. A ranker of actions: minus the log
loss of what users did with the held item, which it sees after the history, with the AUC.

Validate a ranker of choices on visits that it was not trained on.

Each visit is scored as in serving, with negatives drawn as in training; the draws depend on the
seed alone, so the same weights give the same loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.ranges import ranges
from adwright.data.sequences.item_sequences import Held, ItemSequences, SequenceBatch
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.metrics.classification import auc, log_loss
from adwright.metrics.ranking import Ranks, hit_rate, ndcg, ranks_of_positives, recall
from adwright.models.sequential.choice_ranker import (
    ChoiceRanker,
    Choices,
    choice_logits,
    with_negatives,
)
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.losses import Own, own_items
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.retrieval.fit import Scorer, retrieved_ranks

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
                row, own, terms = model.own_terms(batch, queries)
                known = own > 0
                scores[row[known], own[known] - 1] += terms[known]
            mask = None
            if unseen:  # what each user had before
                codes, bounds = sequences.seen(some, split)
                mask = np.zeros((len(some), sequences.items), dtype=bool)
                mask[np.repeat(np.arange(len(some)), np.diff(bounds)), codes - 1] = True
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
        ),
        before - len(asked),
    )


def _had(sequences: ItemSequences, people: Ints, split: Held) -> NDArray[np.bool_]:
    """Mask of the users who had their target before, bool [P]."""
    codes, bounds = sequences.seen(people, split)
    owner = np.repeat(np.arange(len(people)), np.diff(bounds))
    hit = codes == sequences.targets(people, split)[owner]
    return np.bincount(owner[hit], minlength=len(people)) > 0


def visit_batch(task: NextBasket, visits: Ints, max_length: int) -> SequenceBatch:
    """Batch the latest `max_length` events before each of `visits` (int64 [B]), at its time."""
    first, end = task.user_offsets[task.visit_user[visits]], task.visit_end[visits]
    return _read(task, np.maximum(first, end - max_length), end, task.visit_time[visits])


def visit_scorer(model: SequenceModel, task: NextBasket, *, events: int = 65_536) -> Scorer:
    """Make a scorer of all items for `retrieved_ranks`; item vectors are computed once, here.
    Ascending visits are fastest, as those of one user then come together. events: about so many
    are read at once."""
    with torch.no_grad():
        items = model.item_vectors(torch.arange(len(task.items)))

    def score(visits: Ints) -> Tensor:
        nothing = model.asking(torch.zeros(len(visits), model.config.width))
        scores = nothing @ items.T
        for read in _readings(model, task, visits, events):
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
    model: SequenceModel, task: NextBasket, visits: Ints, events: int
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
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    yield from (np.sort(order[start:end]) for start, end in pairwise(bounds) if end > start)


@dataclass(frozen=True)
class ActionScores:
    """Predicted actions of users int64 [P]: probability float64 and label int64, both [P, K
    tasks]."""

    people: Ints
    probability: NDArray[np.float64]
    label: Ints


def predict_actions(
    model: HSTURanker,
    sequences: ItemSequences,
    split: Held,
    *,
    people: Ints | None = None,
    chunk: int = 256,
) -> ActionScores:
    """Predict what `people` (None for all) did with their held items; users whose action is
    unknown are left out. The model is left in eval mode.

    Raises ValueInvalidError for sequences without actions.
    """
    if sequences.action is None:
        raise ValueInvalidError("the sequences hold no actions", hint="read them with actions")
    asked = sequences.people(split) if people is None else people
    action = sequences.action[sequences.held(split)[0]]
    asked = asked[action[asked] > 0]
    model.eval()
    parts = []
    with torch.no_grad():
        for at in range(0, len(asked), chunk):
            past = sequences.questions(
                asked[at : at + chunk], split, max_length=model.config.max_length - 1
            )
            batch = _with_target(past)
            logits, event = model.logits(batch)
            last = torch.searchsorted(event, batch.items.offsets[1:] - 1)
            parts.append(torch.sigmoid(logits[last].double()).numpy())
    counts = model.get_buffer("counts").numpy()
    tasks = len(model.config.tasks)
    probability = np.concatenate([np.zeros((0, tasks)), *parts])
    return ActionScores(asked, probability, counts[action[asked]].astype(np.int64))


def validation(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    *,
    people: Ints | None = None,
    k: int = 10,
    unseen: bool = True,
) -> tuple[float, dict[str, float]]:
    """(goal, measures for metrics.jsonl) of the validation split.

    people: int64 [P] of `sequences.people("valid")`, None for all. k, unseen: of the ranks.
    """
    if isinstance(model, HSTURanker):
        return _of_actions(model, sequences, people)
    found = rank_next(model, sequences, "valid", people=people, unseen=unseen).ranks
    gain = ndcg(found, k)
    return gain, {
        f"valid_ndcg@{k}": gain,
        f"valid_hit_rate@{k}": hit_rate(found, k),
        "valid_tie_share": found.tie_share,
    }


def _of_actions(
    model: HSTURanker, sequences: ItemSequences, people: Ints | None
) -> tuple[float, dict[str, float]]:
    found = predict_actions(model, sequences, "valid", people=people)
    line: dict[str, float] = {}
    losses = []
    for column, (name, _) in enumerate(model.config.tasks):
        label, probability = found.label[:, column], found.probability[:, column]
        losses.append(log_loss(label, probability))
        try:
            line[f"valid_auc_{name}"] = auc(label, probability)
        except DataError:
            # With one class only there is no AUC.
            continue
    loss = float(np.mean(losses))
    return -loss, {"valid_log_loss": loss, **line}


def _with_target(past: SequenceBatch) -> SequenceBatch:
    """Append to each sequence its target as an event of unknown action, at the request's time."""
    offsets = past.items.offsets
    ends = offsets[1:] - 1
    longer = lengths_to_offsets(past.items.lengths + 1)
    events, people = len(past.target), len(past)
    # Each sequence's events, then its target, which lies behind all events.
    source = torch.empty(events + people, dtype=torch.int64)
    source[torch.arange(events) + past.items.owner()] = torch.arange(events)
    source[longer[1:] - 1] = events + torch.arange(people)

    def more(values: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, last])[source]

    nothing = torch.zeros_like(ends)
    time = next_time = None
    if past.time is not None and past.next_time is not None:
        now = past.next_time[ends]
        time, next_time = more(past.time, now), more(past.next_time, now)
    return replace(
        past,
        items=Jagged(more(past.items.values, past.target[ends]), longer),
        target=more(past.target, nothing),
        time=time,
        next_time=next_time,
        action=None if past.action is None else more(past.action, nothing),
    )


def visit_choices(
    model: ChoiceRanker, task: NextBasket, visits: Ints, rng: np.random.Generator
) -> Choices:
    """Candidates at `visits` (int64 [B], each with a history): what was taken and drawn negatives,
    after the latest events that the ranker reads."""
    start = task.target_offsets[visits]
    place, bounds = ranges(start, task.target_offsets[visits + 1] - start)
    past = visit_batch(task, visits, model.config.max_length - 1)
    return with_negatives(past, task.targets[place], bounds, model.draws, model.share, rng)


def choice_validation(
    model: ChoiceRanker, task: NextBasket, visits: Ints, *, seed: int = 0, chunk: int = 64
) -> Callable[[], tuple[float, dict[str, float]]]:
    """Make a validation for `fit_sequential`: minus the log loss of the candidates of `visits`
    (int64 [V]), with their AUC; visits without a history are left out.

    seed: of the negatives. chunk: visits per pass. Raises ConfigError where no visit has a history.
    """
    asked = visits[task.visit_end[visits] > task.user_offsets[task.visit_user[visits]]]
    if not len(asked):
        raise ConfigError(
            "no visit has a history",
            where=f"{len(visits)} visits",
            hint="validate on other visits, or train with train_on_validation=True",
        )

    def measure() -> tuple[float, dict[str, float]]:
        rng = np.random.default_rng(seed)
        logits, labels = [], []
        with torch.no_grad():
            for start in range(0, len(asked), chunk):
                choices = visit_choices(model, task, asked[start : start + chunk], rng)
                logits.append(choice_logits(model, choices)[:, 0])
                labels.append(choices.label)
        probability = torch.sigmoid(torch.cat(logits).double()).numpy()
        label = torch.cat(labels).numpy().astype(np.int64)
        loss = log_loss(label, probability)
        line = {"valid_log_loss": loss}
        # With one class only there is no AUC.
        with suppress(DataError):
            line["valid_auc"] = auc(label, probability)
        return -loss, line

    return measure


def some_visits(task: NextBasket, people: int, seed: int) -> Ints:
    """Draw the validation visits of so many users; of all of them for 0."""
    visits = task.visits("valid")
    known = np.unique(task.visit_user[visits])
    if not 0 < people < len(known):
        return visits
    chosen = np.random.default_rng(seed).choice(known, people, replace=False)
    return visits[np.isin(task.visit_user[visits], chosen)]
