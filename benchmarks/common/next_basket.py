"""Measures of the next-basket task that the retrieval benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.bootstrap import bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.metrics.ranks import Ranks
from adwright.training.retrieval.ranks import Retrieved, Scorer, retrieved_ranks

Floats = NDArray[np.float64]

#: An item with fewer training events belongs to the tail; one without any is cold.
TAIL = 20
DEPTH = 500
SLICES = ("all", "tail", "cold", "unseen", "unseen_tail", "unseen_cold")
MEASURES = ("recall50", "recall500", "ndcg10")


class Measured(NamedTuple):
    """Per visit, NaN where the slice has no target: "slice/measure" to float64 [V]."""

    values: dict[str, Floats]


def measure(score: Scorer, task: NextBasket, visits: NDArray[np.int64]) -> Measured:
    """All measures of all slices."""
    values: dict[str, Floats] = {}
    for prefix, unseen in (("", False), ("unseen", True)):
        found = retrieved_ranks(score, task, visits, depth=DEPTH, unseen=unseen)
        count = task.count[found.item]
        parts: dict[str, Retrieved] = {
            prefix or "all": found,
            f"{prefix}_tail".strip("_"): found.where(count < TAIL),
            f"{prefix}_cold".strip("_"): found.where(count == 0),
        }
        for name, part in parts.items():
            values |= {f"{name}/{k}": v for k, v in _measures(part.ranks()).items()}
    return Measured(values)


def _measures(ranks: Ranks) -> dict[str, Floats]:
    return {
        "recall50": recall_per_user(ranks, 50),
        "recall500": recall_per_user(ranks, 500),
        "ndcg10": ndcg_per_user(ranks, 10),
    }


def popularity(task: NextBasket) -> Scorer:
    """Training events of each item; ties by item code."""
    score = torch.from_numpy(_places(task))

    def scores(visits: NDArray[np.int64]) -> torch.Tensor:
        return score.expand(len(visits), -1).clone()

    return scores


def frequency(task: NextBasket) -> Scorer:
    """How often the user had the item before; ties by popularity."""
    places = torch.from_numpy(_places(task))

    def scores(visits: NDArray[np.int64]) -> torch.Tensor:
        batch = task.batch(visits)
        found = places.expand(len(visits), -1).clone()
        ones = torch.ones(batch.history.values.numel(), dtype=torch.float64)
        at = (batch.history.owner(), batch.history.values)
        return found.index_put_(at, ones, accumulate=True)

    return scores


def _places(task: NextBasket) -> Floats:
    """Popularity as a number in [0, 1) that no two items share."""
    order = np.argsort(task.count, kind="stable")
    places = np.empty(len(order))
    places[order] = np.arange(len(order)) / len(order)
    return places


def person_sums(values: Floats, person: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(sum over a user's visits, number of visits), of the visits that have a value."""
    known = ~np.isnan(values)
    people = int(person.max()) + 1
    return (
        np.bincount(person[known], values[known], minlength=people).astype(np.float64),
        np.bincount(person[known], minlength=people).astype(np.float64),
    )


def interval(values: Floats, person: NDArray[np.int64], draws: int = 1000) -> list[float]:
    """Mean over visits, and the ends of its 95% interval by bootstrap over users."""
    top, number = person_sums(values, person)
    found = bootstrap_ratio(top, number, np.random.default_rng(0), draws)
    return [found.value, found.low, found.high]


def difference(a: Floats, b: Floats, person: NDArray[np.int64], draws: int = 2000) -> list[float]:
    """Paired difference of means over visits, and the ends of its 95% interval."""
    top_a, number = person_sums(a, person)
    top_b, _ = person_sums(b, person)
    found = bootstrap_difference(top_a, top_b, number, np.random.default_rng(0), draws)
    return [found.value, found.low, found.high]


def mean_of(runs: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """The mean over seeds of each visit's measures."""
    return {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}


def table(models: Mapping[str, Mapping[str, Floats]], person: NDArray[np.int64]) -> list[Any]:
    """One row per model: each measure with its interval."""
    rows = []
    for name, values in models.items():
        row: dict[str, Any] = {"model": name}
        for key, found in values.items():
            value, low, high = interval(found, person)
            row[key] = [round(value, 5), round(low, 5), round(high, 5)]
        rows.append(row)
    return rows


def keep(path: Path, values: Mapping[str, Any], seconds: float) -> None:
    """Write the measures of a run, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".part").open("wb") as file:
        np.savez_compressed(file, seconds=np.array(seconds), **values)
    path.with_suffix(".part").replace(path)


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The measures of the runs that are there."""
    runs = []
    for path in paths:
        if path.exists():
            with np.load(path, allow_pickle=False) as stored:
                runs.append(dict(stored))
    return runs
