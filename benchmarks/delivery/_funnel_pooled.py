"""What is said of a log from all seeds together, with intervals over seeds and users.

A draw takes as many seeds as there are and as many users, both with replacement and apart from each
other; its value is the mean over its seeds of the mean over the visits of its users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.metrics.bootstrap import Interval, draw_counts, interval_of

__all__ = ["PooledLog", "pooled", "two_level"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_DRAWS = 500


def two_level(user: Sequence[Ints], value: Sequence[Floats], *, seed: int = 0) -> Interval:
    """The mean of visits over seeds: user[s] int64 [V], value[s] [V] are those of seed s."""
    known, place = np.unique(np.concatenate(user), return_inverse=True)
    bounds = np.cumsum([0, *(len(one) for one in user)])
    rows = [place[a:b] for a, b in pairwise(bounds)]
    sums = np.stack([np.bincount(r, v, len(known)) for r, v in zip(rows, value, strict=True)])
    number = np.stack([np.bincount(r, minlength=len(known)) for r in rows]).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = []
    for counts in draw_counts(len(known), _DRAWS, rng):
        mean = (counts @ sums.T) / np.maximum(counts @ number.T, 1e-12)
        chosen = rng.integers(len(user), size=mean.shape)
        drawn.append(np.take_along_axis(mean, chosen, 1).mean(1))
    whole = float((sums.sum(1) / number.sum(1)).mean())
    return interval_of(whole, np.concatenate(drawn))


@dataclass(frozen=True)
class PooledLog:
    """One log. rows: a line of the table each. not_below: what serves is not below the best rule
    and its own parts by more than the interval. best: it is ahead of every rule and every peer.
    figures: by name, without that of the log."""

    rows: list[dict[str, Any]]
    not_below: bool
    best: bool
    figures: dict[str, float | list[float]]


def pooled(name: str, gains: Mapping[int, pl.DataFrame]) -> PooledLog:
    """gains: seed -> what each visit got, as the benchmark keeps it."""
    lines = sorted({c for one in gains.values() for c in one.columns if c.startswith("ndcg/")})
    rows: list[dict[str, Any]] = []
    leads: dict[tuple[str, str], Interval] = {}
    for line in lines:
        with_it = {seed: one for seed, one in gains.items() if line in one.columns}
        user = [one["user"].to_numpy() for one in with_it.values()]
        _, kind, what = line.split("/", 2)
        ndcg = [one[line].to_numpy() for one in with_it.values()]
        recall = [one[line.replace("ndcg/", "recall/", 1)].to_numpy() for one in with_it.values()]
        served = [one["ndcg/served/served"].to_numpy() for one in with_it.values()]
        lead = two_level(user, [s - g for s, g in zip(served, ndcg, strict=True)])
        leads[kind, what] = lead
        rows.append(
            {
                "set": name,
                "name": what,
                "kind": kind,
                "seeds": sorted(with_it),
                "ndcg10": _ends(two_level(user, ndcg)),
                "recall50": _ends(two_level(user, recall)),
                "served_ahead": _ends(lead),
            }
        )
    others = {kind: [key for key in leads if key[0] == kind] for kind in ("rule", "peer", "part")}
    best = {kind: min(k, key=lambda one: leads[one].value) for kind, k in others.items() if k}
    of = {(row["kind"], row["name"]): row for row in rows}
    served_row = of["served", "served"]
    figures: dict[str, float | list[float]] = {
        "ndcg10_served": served_row["ndcg10"][0],
        "recall50_served": served_row["recall50"][0],
    }
    for kind, key in best.items():
        figures[f"ndcg10_best_{kind}"] = of[key]["ndcg10"][0]
        figures[f"served_minus_best_{kind}_ci"] = [leads[key].low, leads[key].high]
    own = [lead for (kind, _), lead in leads.items() if kind in ("rule", "part", "order")]
    return PooledLog(
        rows,
        all(lead.high >= 0 for lead in own),
        all(lead.value > 0 for (kind, _), lead in leads.items() if kind in ("rule", "peer")),
        figures,
    )


def _ends(found: Interval) -> list[float]:
    return [found.value, found.low, found.high]
