"""Fit the item-item rule to a log, with settings from a short search on its validation questions.

The search changes one setting at a time and keeps a change that raises NDCG@10 (`STEPS`, in that
order, the two of the history once more at the end). It asks at most QUESTIONS questions, with at
most twice EVENTS events before them, of a table counted from at most EVENTS training events,
those of users drawn by `seed`: enough to tell settings apart, and a matter of seconds whatever
the log's size. Whether own items may come again is not
searched but told by the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import ProcessorClock
from adwright.core.config import with_overrides
from adwright.data.ranges import ranges
from adwright.data.sequences.next_log import NextLog, NextQuestions
from adwright.metrics.ranking import ndcg, recall
from adwright.metrics.ranks import Ranks
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import Neighbours, count_neighbours

__all__ = [
    "ItemItemSearch",
    "ItemItemTrial",
    "fit_item_item",
    "listed_ranks",
    "search_item_item",
    "validation_questions",
]

Ints = NDArray[np.int64]
_log = logging.getLogger("adwright")
QUESTIONS, EVENTS, DEPTH = 2_000, 200_000, 50

#: Settings that are tried, one after another. A value is what the fields of that name become.
STEPS: tuple[tuple[tuple[str, ...], tuple[tuple[float, ...], ...]], ...] = (
    (("recency",), ((0.5,), (0.7,), (0.9,), (0.97,), (1.0,))),
    (("own",), ((0.01,), (0.1,), (1.0,), (10.0,))),
    (("window",), ((2,), (10,), (20,))),
    (("decay",), ((0.5,), (0.85,), (1.0,))),
    (("backward",), ((0.5,), (0.0,))),
    (("source", "target"), ((0.5, 0.25), (0.25, 0.25), (0.75, 0.5), (0.75, 0.25))),
    (("shrink",), ((10.0,),)),
    (("recency",), ((0.5,), (0.7,), (0.8,), (0.9,), (0.97,))),
    (("own",), ((0.01,), (0.03,), (0.1,), (0.3,), (1.0,))),
)


@dataclass(frozen=True)
class ItemItemTrial:
    """One setting that was tried. ndcg, recall: NDCG@10 and recall@50 on the validation
    questions."""

    config: ItemItemConfig
    ndcg: float
    recall: float


@dataclass(frozen=True)
class ItemItemSearch:
    """What a search found. config: the best. trials: all, the default settings first. questions,
    events: asked, and counted from. seconds: of the processor."""

    config: ItemItemConfig
    trials: tuple[ItemItemTrial, ...]
    questions: int
    events: int
    seconds: float

    def text(self) -> str:
        """One sentence: the settings, and what the search gained."""
        found = self.config
        table = found.neighbours
        said = (
            f"window {table.window}, decay {table.decay:g}, backward {table.backward:g}, powers "
            f"{table.source:g} and {table.target:g}, shrink {table.shrink:g}, recency "
            f"{found.recency:g}, own {found.own:g}"
        )
        if not self.trials:
            return f"item-item: {said}; the defaults, as there is nothing to validate on"
        best = max(trial.ndcg for trial in self.trials)
        return (
            f"item-item: {said}; of {len(self.trials)} settings the best on {self.questions:,} "
            f"validation questions, NDCG@10 {self.trials[0].ndcg:.4f} -> {best:.4f}, in "
            f"{self.seconds:.1f} s"
        )


def fit_item_item(log: NextLog, config: ItemItemConfig | None = None) -> ItemItem:
    """Count the table of a log from its training events; of `NextLog.whole`, from all of them."""
    config = config or ItemItemConfig()
    everybody = np.arange(len(log.users))
    return ItemItem(config, _counted(log, everybody, log.train_end, config), log.count)


def search_item_item(
    log: NextLog,
    *,
    repeats: bool,
    seed: int = 0,
    questions: int = QUESTIONS,
    events: int = EVENTS,
) -> ItemItemSearch:
    """Search the settings, see the module, and say what was found.

    repeats: whether what a user had may come again; without it own items are left out of the
    answers. questions, events: at most so many. Without validation questions the defaults stand.
    """
    timer = ProcessorClock()
    began = timer.monotonic()
    rng = np.random.default_rng(seed)
    asked = validation_questions(log, rng, questions, events)
    people = _some_people(log, events, rng)
    counted = int((log.train_end - log.offsets[:-1])[people].sum())
    bench = _Bench(log, asked, people, repeats=repeats)
    best = bench.measured(ItemItemConfig())
    trials = [best]
    for names, values in STEPS if len(asked) and counted else ():
        if names == ("own",) and not repeats:
            continue
        for value in values:
            config = _changed(best.config, names, value)
            if all(config != trial.config for trial in trials):
                trials.append(bench.measured(config))
        best = max(trials, key=lambda trial: trial.ndcg)
    found = ItemItemSearch(
        best.config,
        tuple(trials) if len(trials) > 1 else (),
        len(asked),
        counted,
        timer.monotonic() - began,
    )
    _log.info(found.text())
    return found


def validation_questions(
    log: NextLog, rng: np.random.Generator, questions: int = QUESTIONS, events: int = EVENTS
) -> NextQuestions:
    """At most so many validation questions, with at most twice `events` events before them."""
    drawn = rng.permutation(len(log.valid))[:questions]
    before = np.cumsum((log.valid.end - log.valid.first)[drawn])
    return log.valid.some(np.sort(drawn[before <= max(2 * events, before[:1].sum())]))


class _Bench:
    """Measures settings; the table of the latest neighbour settings is kept."""

    def __init__(self, log: NextLog, asked: NextQuestions, people: Ints, *, repeats: bool) -> None:
        self.log, self.asked, self.people, self.repeats = log, asked, people, repeats
        self.pasts = log.pasts(asked)
        self.table: Neighbours | None = None
        self.of: object = None

    def measured(self, config: ItemItemConfig) -> ItemItemTrial:
        if self.table is None or self.of != config.neighbours:
            stop = self.log.train_end[self.people]
            self.table = _counted(self.log, self.people, stop, config)
            self.of = config.neighbours
        model = ItemItem(config, self.table, self.log.count)
        depth = min(DEPTH, self.log.items)
        codes, _ = model.best(self.pasts, depth, unseen=not self.repeats)
        if not len(self.asked):
            return ItemItemTrial(config, 0.0, 0.0)
        ranks = listed_ranks(codes, self.asked)
        return ItemItemTrial(config, ndcg(ranks, 10), recall(ranks, DEPTH))


def listed_ranks(codes: Ints, asked: NextQuestions) -> Ranks:
    """Ranks of the targets in lists of items: codes int64 [Q, k], best first. A target that is
    not in its list has rank k + 1."""
    owner = np.repeat(np.arange(len(asked)), np.diff(asked.offsets))
    hit = codes[owner] == asked.targets[:, None]
    rank = np.where(hit.any(1), hit.argmax(1) + 1, codes.shape[1] + 1).astype(np.float64)
    order = np.lexsort((rank, owner))
    return Ranks(rank[order], asked.offsets, np.zeros(len(rank), dtype=bool), "hash")


def _counted(log: NextLog, people: Ints, stop: Ints, config: ItemItemConfig) -> Neighbours:
    """The table of some users' events, each until `stop` (int64, one a user)."""
    first = log.offsets[people]
    place, offsets = ranges(first, stop - first)
    return count_neighbours(
        log.item[place], log.moment[place], offsets, log.items, config.neighbours
    )


def _some_people(log: NextLog, events: int, rng: np.random.Generator) -> Ints:
    """Users of about so many training events, ascending; all of them where they have fewer."""
    order = rng.permutation(len(log.users))
    size = (log.train_end - log.offsets[:-1])[order]
    return np.sort(order[np.cumsum(size) - size < events])


def _changed(
    config: ItemItemConfig, names: Sequence[str], values: Sequence[float]
) -> ItemItemConfig:
    asked = dict(zip(names, values, strict=True))
    if asked.keys() <= {"recency", "own"}:
        return with_overrides(config, asked)
    return replace(config, neighbours=with_overrides(config.neighbours, asked))
