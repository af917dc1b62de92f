"""Measures of the next-basket task that the retrieval benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user
from adwright.training.retrieval.fit import Retrieved, Scorer, retrieved_ranks

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
    """(sum over a user's visits, number of visits), of the visits that have a value.

    values: [V], or [S, V] by seed, where every seed has a value of the same visits; the sums then
    are [S, U].
    """
    known = ~np.isnan(np.atleast_2d(values)).any(0)
    people = int(person.max()) + 1

    def sums(one: Floats) -> Floats:
        return np.bincount(person[known], one[known], minlength=people).astype(np.float64)

    number = np.bincount(person[known], minlength=people).astype(np.float64)
    return (sums(values) if values.ndim == 1 else np.stack([sums(one) for one in values]), number)


def method_interval(values: Floats, person: NDArray[np.int64], draws: int = 1000) -> MethodInterval:
    """Mean over visits, of a model over its seeds too, values [S, V]; of a rule [V]."""
    return two_level_ratio(*person_sums(values, person), np.random.default_rng(0), draws)


def method_difference(
    a: Floats, b: Floats, person: NDArray[np.int64], draws: int = 2000, *, paired: bool = False
) -> MethodInterval:
    """Difference of the means over visits, the same for both. a, b: [S, V], each by its own seeds,
    or [V] of a rule. paired: seed s of both is one training."""
    (top_a, number), (top_b, other) = person_sums(a, person), person_sums(b, person)
    rng = np.random.default_rng(0)
    return two_level_difference(
        top_a, top_b, number, rng, draws, denominators_b=other, paired=paired
    )


def interval(values: Floats, person: NDArray[np.int64], draws: int = 1000) -> list[float]:
    """`method_interval` as [value, low, high]."""
    return ends(method_interval(values, person, draws))


def difference(a: Floats, b: Floats, person: NDArray[np.int64], draws: int = 2000) -> list[float]:
    """`method_difference` as [value, low, high]."""
    return ends(method_difference(a, b, person, draws))


def ends(found: MethodInterval) -> list[float]:
    """[value, low, high]."""
    return [found.value, found.low, found.high]


def by_seed(runs: Sequence[Mapping[str, NDArray[np.floating[Any]]]]) -> dict[str, Floats]:
    """The measures of the trainings of a model, each with a row a seed: [S, V]."""
    return {key: np.stack([run[key] for run in runs]).astype(np.float64) for key in runs[0]}


def mean_of(runs: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """The mean over seeds of each visit's measures: intervals of it are of these trainings."""
    return {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}


def table(models: Mapping[str, Mapping[str, Floats]], person: NDArray[np.int64]) -> list[Any]:
    """One row per model: each measure with its interval, and by seed where there are seeds."""
    rows = []
    for name, values in models.items():
        row: dict[str, Any] = {"model": name}
        row |= {k: [round(x, 5) for x in interval(found, person)] for k, found in values.items()}
        rows.append(row | means_by_seed(values))
    return rows


def means_by_seed(values: Mapping[str, Floats]) -> dict[str, Any]:
    """{"by_seed": measure -> mean over visits of each seed}; nothing of a rule."""
    found = {
        k: [round(float(np.nanmean(one)), 6) for one in v] for k, v in values.items() if v.ndim == 2
    }
    return {"by_seed": found} if found else {}


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
