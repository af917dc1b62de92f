"""One training of the self-supervision benchmark: what it is of, how it is made and kept.

A cell is a data set, a share of its training labels, a second task with its weight and
temperature, and a seed. Its training keeps the weights and the recall of validation; what it does
on the test is measured from these weights, for the cells that validation chose, and kept apart.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket, build_next_item
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig, Views
from adwright.training.retrieval.fit import (
    RetrievalConfig,
    Scorer,
    catalogue_vectors,
    fit_retriever,
    retrieved_ranks,
)
from adwright.training.search import seeded
from benchmarks.common.next_basket import keep, read
from benchmarks.common.result import RESULTS

SCRATCH = cache_folder() / "bench" / "two_tower"
#: What each cell found, beside the results: it takes more hours than a machine is there for.
KEPT = RESULTS / "cells" / "two_tower"
DATA = ("beauty", "lastfm", "journey")
SHARES = (1, 3, 10, 30, 100)
#: An item with so many training labels belongs to the head, one without any is cold.
HEAD = 20
#: The share where a data set begins.
FIRST = 10
DEPTH = 500
#: At most so many passes over the labels: fewer labels, more passes and fewer steps.
EPOCHS = {1: 40, 3: 30, 10: 15, 30: 10, 100: 6}
JOURNEY_EPOCHS = {1: 20, 3: 12, 10: 6, 30: 3, 100: 2}
VIEW_ITEMS = {"beauty": 1024, "lastfm": 1024, "journey": 512}


@dataclass(frozen=True)
class Cell:
    """data: of DATA. share: of the training labels, in percent. views: the second task. alpha,
    temperature: its weight and temperature."""

    data: str
    share: int
    views: Views
    alpha: float = 0.0
    temperature: float = 0.1
    seed: int = 0

    def model(self) -> TwoTowerConfig:
        """The towers: all else is alike in every cell of a data set."""
        task = self.views not in ("none", "feature_dropout")
        return TwoTowerConfig(
            views=self.views,
            alpha=self.alpha if task else 0.0,
            view_temperature=self.temperature if task else 0.1,
            view_items=VIEW_ITEMS[self.data],
        )

    def fit(self) -> RetrievalConfig:
        """The training: the epoch of the best recall of validation is kept."""
        journey = self.data == "journey"
        return RetrievalConfig(
            epochs=(JOURNEY_EPOCHS if journey else EPOCHS)[self.share],
            batch=256,
            max_history=200 if journey else 50,
            validation_visits=1_500 if journey else 3_000,
            patience=3,
            seed=self.seed,
        )


class NotRun(Exception):
    """A training that is not there, and was not to be made."""


def open_task(name: str) -> NextBasket | None:
    """The task of a data set with all its labels; None where the data is not here."""
    if name == "journey":
        return build_next_basket(CompleteJourney.open())
    shared = os.environ.get("ADWRIGHT_DATA")
    return build_next_item(Path(shared) / name) if shared else None


def with_share(task: NextBasket, share: int) -> NextBasket:
    """The task with `share` percent of its training visits as labels, drawn once and nested; the
    others train nothing and are not counted. What users did before a visit stays known."""
    if share == 100:
        return task
    order = np.random.default_rng(0).permutation(task.visits("train"))
    dropped = order[round(len(order) * share / 100) :]
    split = task.split.copy()
    split[dropped] = -1
    owner = np.repeat(split, np.diff(task.target_offsets))
    count = np.bincount(task.targets[owner == 0], minlength=len(task.items))
    key = content_hash({"task": task.data_hash, "share": share})
    return replace(task, split=split, count=count, data_hash=key)


def trained(cell: Cell, task: NextBasket, *, run: bool = True) -> dict[str, float]:
    """What the training of `cell` found, read back where it is there: valid, the recall@50 of all
    validation visits; seconds, of the processor; epoch, that was kept. run: train what is not
    there, else raise NotRun."""
    path = _file(cell, task)
    if not path.exists():
        if not run:
            raise NotRun(str(cell))
        _train(cell, task)
    return {key: float(value) for key, value in read([path])[0].items()}


def _train(cell: Cell, task: NextBasket) -> None:
    start = time.process_time()
    model = _new(cell, task)
    result = fit_retriever(model, task, cell.fit())
    seconds = time.process_time() - start
    model.eval()
    visits = task.visits("valid")
    ranks = retrieved_ranks(catalogue_vectors(model, task), task, visits, depth=50).ranks()
    valid = recall_per_user(ranks, 50)
    weights = _weights(_file(cell, task))
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(model.state_dict()), weights)
    found = {"valid": np.nanmean(valid), "epoch": np.array(result.epoch)}
    keep(_file(cell, task), found, seconds)
    print(f"{cell} valid {found['valid']:.4f} epoch {result.epoch} {seconds:.0f} CPU-s", flush=True)


def on_test(cell: Cell, task: NextBasket, *, run: bool = True) -> dict[str, NDArray[np.float32]]:
    """The measures of the cell's weights on each test visit, "slice/measure" to [V], NaN where a
    visit has no target of the slice. run: as in `trained`."""
    trained(cell, task, run=run)
    path = _file(cell, task)
    kept = path.with_name(f"{path.stem}-test.npz")
    if not kept.exists():
        if not run:
            raise NotRun(f"the test of {cell}")
        if not _weights(path).exists():  # trained on another machine
            _train(cell, task)
        model = _new(cell, task)
        model.load_state_dict(load_file(_weights(path)))
        model.eval()
        start = time.process_time()
        values = by_slice(catalogue_vectors(model, task), task)
        keep(kept, values, time.process_time() - start)
    return {key: value for key, value in read([kept])[0].items() if key != "seconds"}


def by_slice(score: Scorer, task: NextBasket) -> dict[str, NDArray[np.float32]]:
    """The measures of the test visits by how often an item was a training label: all, head, tail,
    cold; and of items new to the user: unseen, unseen_tail."""
    values = {}
    for new in (False, True):
        found = retrieved_ranks(score, task, task.visits("test"), depth=DEPTH, unseen=new)
        count = task.count[found.item]
        slices = {
            "all": count >= 0,
            "head": count >= HEAD,
            "tail": count < HEAD,
            "cold": count == 0,
        }
        for name, chosen in slices.items():
            title = name if not new else f"unseen_{name}".removesuffix("_all")
            ranks = found.where(chosen).ranks()
            for k in (50, 500):
                values[f"{title}/recall{k}"] = recall_per_user(ranks, k).astype(np.float32)
            values[f"{title}/ndcg10"] = ndcg_per_user(ranks, 10).astype(np.float32)
    return values


def _file(cell: Cell, task: NextBasket) -> Path:
    """Where the training of `cell` is kept. task: at the cell's share."""
    key = content_hash(
        {"m": to_jsonable(cell.model()), "f": to_jsonable(cell.fit()), "d": task.data_hash}
    )
    setting = f"{cell.alpha:g}_{cell.temperature:g}".replace(".", "") if cell.alpha else "0"
    name = f"{cell.views}-{setting}-{cell.seed}-{key[:12]}.npz"
    return KEPT / cell.data / str(cell.share) / name


def _weights(path: Path) -> Path:
    """Where the weights of a training lie, which are for this machine alone."""
    return SCRATCH / path.relative_to(KEPT).with_suffix(".safetensors")


def _new(cell: Cell, task: NextBasket) -> TwoTower:
    config = cell.model()
    return seeded(cell.seed, lambda: TwoTower(config, task.spec, task.items, task.count))
