"""Fit the item-item rule to a log, with settings from a short search on its validation questions.

The search changes one setting at a time and keeps a change that raises NDCG@10 (`STEPS`, in that
order, the two of the history once more at the end). It asks at most QUESTIONS questions, with at
most twice EVENTS events before them, of a table counted from at most EVENTS training events,
those of users drawn by `seed`: enough to tell settings apart, and a matter of seconds whatever
the log's size. Whether own items may come again is not
searched but told by the log.

A fitted item-item rule as an artifact of kind "item-item".

manifest.json         its settings, the data's hash, the seed
tensors.safetensors   neighbours, their scores, and how often each item was taken
items.json            what the item codes stand for
histories/            what users did until then (kind "histories"), where it is to be served

Fit item-item by regression to a log: the settings of its item-item rule, and three that a short
search on validation questions finds, how much the regression shrinks, how much it holds against
popular items, and how fast a history fades.

Of a log whose items repeat it is also searched how much an own item counts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, Fitted, save_artifact
from adwright.core.clock import Clock, ProcessorClock
from adwright.core.config import from_jsonable, to_jsonable, with_overrides
from adwright.core.errors import ValueInvalidError
from adwright.data.ranges import ranges
from adwright.data.sequences.datasets import NextLog, NextQuestions
from adwright.metrics.ranking import Ranks, ndcg, recall
from adwright.models.calibration import ListCalibrator
from adwright.models.retrieval.item_item import (
    ItemItem,
    ItemItemConfig,
    LinearCounts,
    NeighbourConfig,
    Neighbours,
    count_linear,
    count_neighbours,
    linear_neighbours,
    regression,
)
from adwright.training.model_artifacts import load_trained

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
    return Ranks(rank[order], asked.offsets, np.zeros(len(rank), dtype=bool))


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


KIND = "item-item"
_IDS = "items.json"
_ARRAYS = ("codes", "score", "count")


@dataclass(frozen=True, eq=False)
class ItemItemArtifact:
    """A fitted rule with what its codes stand for.

    ids: of the item codes 1 to N. repeats: whether what a user had may come again, which the log
    told. name, data_hash: of the data. seed: of the search. files: further files that are saved
    with it. fitted: on which events. calibration: what the scores of each stage in which it
    serves are worth. Raises ValueInvalidError where ids and counts are not of one catalogue.
    """

    model: ItemItem
    ids: tuple[str, ...]
    repeats: bool
    name: str = ""
    data_hash: str = ""
    seed: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    fitted: Fitted | None = None
    calibration: Mapping[str, ListCalibrator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.ids) != self.model.items or len(set(self.ids)) != len(self.ids):
            raise ValueInvalidError(
                f"the rule knows {self.model.items:,} items, and needs a different id of each",
                column="ids",
                value=f"{len(set(self.ids)):,} different ids of {len(self.ids):,}",
            )

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        table = self.model.neighbours
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "config": to_jsonable(self.model.config),
                "repeats": self.repeats,
                "name": self.name,
                "calibration": {name: to_jsonable(one) for name, one in self.calibration.items()},
            },
            tensors=dict(zip(_ARRAYS, (table.codes, table.score, self.model.count), strict=True)),
            files={**self.files, _IDS: json.dumps(self.ids)},
            data_hash=self.data_hash,
            seed=self.seed,
            fitted=self.fitted,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> ItemItemArtifact:
        """The rule of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="item-item rule")


def _built(artifact: Artifact) -> ItemItemArtifact:
    config = from_jsonable(ItemItemConfig, artifact.config["config"])
    codes, score, count = (artifact.tensors[name] for name in _ARRAYS)
    shape = (len(count), config.neighbours.neighbours)
    if codes.shape != shape or score.shape != shape or codes.max(initial=0) >= len(count):
        raise ValueInvalidError(
            "the neighbours are not those of the items", value=f"{codes.shape}, {shape}"
        )
    table = Neighbours(codes.astype(np.int32), score.astype(np.float32))
    return ItemItemArtifact(
        ItemItem(config, table, count.astype(np.int64)),
        tuple(str(one) for one in json.loads(artifact.text(_IDS))),
        bool(artifact.config["repeats"]),
        str(artifact.config["name"]),
        artifact.data_hash,
        artifact.seed,
        {name: data for name, data in artifact.files.items() if name != _IDS},
        artifact.fitted,
        {
            name: from_jsonable(ListCalibrator, values)
            for name, values in artifact.config.get("calibration", {}).items()
        },
    )


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
