"""Fit item-item by regression to a log: the settings of its item-item rule, and three that a short
search on validation questions finds, how much the regression shrinks, how much it holds against
popular items, and how fast a history fades.

Of a log whose items repeat it is also searched how much an own item counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import ProcessorClock
from adwright.core.config import with_overrides
from adwright.data.sequences.next_log import NextLog
from adwright.metrics.ranking import ndcg
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.linear import (
    LinearCounts,
    count_linear,
    linear_neighbours,
    regression,
)
from adwright.models.retrieval.neighbours import NeighbourConfig, Neighbours
from adwright.training.retrieval.item_item import (
    DEPTH,
    listed_ranks,
    validation_questions,
)

__all__ = ["LinearFit", "fit_linear", "refit_linear"]

Floats = NDArray[np.float32]
#: Settings that are tried, one after another.
SHRINKS, TARGETS = (100.0, 1_000.0, 10.0), (0.25, 0.0, 0.5)
RECENCIES, OWNS = (0.5, 0.7, 0.8, 0.9, 0.97), (0.01, 0.1, 1.0)
#: Neighbours that are kept of each item.
KEPT = 200


@dataclass(frozen=True)
class LinearFit:
    """model: fitted. ndcg: NDCG@10 on the validation questions. trials: settings tried, of so many
    planned. items: that have a row. seconds: of the processor."""

    model: ItemItem
    ndcg: float
    trials: int
    planned: int
    items: int
    seconds: float

    def text(self) -> str:
        """One sentence."""
        config = self.model.config
        table = config.neighbours
        cut = f", its share of the time; {self.planned} were planned"
        return (
            f"linear: shrink {table.shrink:g}, power {table.target:g}, recency {config.recency:g}, "
            f"own {config.own:g}, {self.items:,} items; of {self.trials} settings the best on "
            f"validation, NDCG@10 {self.ndcg:.4f}, in {self.seconds:.1f} s"
            + (cut if self.trials < self.planned else "")
        )


def fit_linear(
    log: NextLog,
    item_item: ItemItemConfig,
    *,
    repeats: bool,
    seed: int = 0,
    enough: Callable[[], bool] | None = None,
) -> LinearFit:
    """Count the training events, search and fit. item_item: the settings of the log's item-item
    rule, of which window, decay, backward and recency are taken over. repeats: whether what a user
    had may come again. enough: from when it is true no further settings are tried. Without
    validation questions the first settings stand."""
    timer = ProcessorClock()
    began = timer.monotonic()
    base = replace(item_item.neighbours, source=0.0, neighbours=KEPT)
    counts = _count(log, base, item_item.recency)
    search = _Search(log, counts, repeats=repeats, seed=seed)
    config = replace(item_item, own=item_item.own if repeats else 0.0)
    search.tried(replace(config, neighbours=replace(base, shrink=SHRINKS[0], target=TARGETS[0])))
    steps: list[tuple[str, float]] = [
        *(("shrink", shrink) for shrink in SHRINKS[1:]),
        *(("target", target) for target in TARGETS[1:]),
        *(("recency", recency) for recency in RECENCIES),
        *(("own", own) for own in OWNS if repeats),
    ]
    for name, value in steps:
        if enough is not None and enough():
            break
        best = search.best.config
        if name in ("shrink", "target"):
            table = with_overrides(best.neighbours, {name: value})
            search.tried(replace(best, neighbours=table))
        else:
            search.tried(with_overrides(best, {name: value}))
    took = timer.monotonic() - began
    return LinearFit(
        search.best, search.ndcg, search.trials, 1 + len(steps), len(counts.kept), took
    )


def refit_linear(log: NextLog, config: ItemItemConfig, *, memory: float) -> ItemItem:
    """The model with the settings that were found, of all events of the log. memory: recency of the
    log's item-item rule, as `fit_linear` takes it over."""
    counts = _count(log.whole, config.neighbours, memory)
    table = config.neighbours
    weights = regression(counts, table.shrink)
    solved = linear_neighbours(counts, weights, table.neighbours, target=table.target)
    return ItemItem(config, solved, counts.count)


def _count(log: NextLog, config: NeighbourConfig, memory: float) -> LinearCounts:
    place, offsets = log.training
    return count_linear(
        log.item[place], log.moment[place], offsets, log.items, config, memory=memory
    )


class _Search:
    """Measures settings; a regression is solved once."""

    def __init__(self, log: NextLog, counts: LinearCounts, *, repeats: bool, seed: int) -> None:
        self.counts, self.repeats, self.items = counts, repeats, log.items
        self.asked = validation_questions(log, np.random.default_rng(seed))
        self.pasts = log.pasts(self.asked)
        self.ndcg, self.trials = -1.0, 0
        self.best: ItemItem
        self._solved: dict[float, Floats] = {}
        self._table: tuple[NeighbourConfig, Neighbours] | None = None

    def tried(self, config: ItemItemConfig) -> None:
        """Measure these settings, and keep them where they are the best so far."""
        model = ItemItem(config, self._neighbours(config.neighbours), self.counts.count)
        self.trials += 1
        found = 0.0
        if len(self.asked):
            codes, _ = model.best(self.pasts, min(DEPTH, self.items), unseen=not self.repeats)
            found = ndcg(listed_ranks(codes, self.asked), 10)
        if found > self.ndcg:
            self.ndcg, self.best = found, model

    def _neighbours(self, config: NeighbourConfig) -> Neighbours:
        if self._table is None or self._table[0] != config:
            if config.shrink not in self._solved:
                self._solved = {config.shrink: regression(self.counts, config.shrink)}
            weights = self._solved[config.shrink]
            table = linear_neighbours(self.counts, weights, config.neighbours, target=config.target)
            self._table = config, table
        return self._table[1]
