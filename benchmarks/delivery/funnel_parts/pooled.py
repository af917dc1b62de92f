"""What is said of a log from all seeds together, with intervals over seeds and users.

A value is the mean over seeds of the mean over the visits of that seed. What serves and a line
beside it come from the same training, so they are compared seed by seed. In a log of which only
some visits are asked, each seed draws its own: the spread of the seeds then holds that too, and
intervals are wide, with two seeds very much so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.metrics.bootstrap import Interval, MethodInterval, two_level_ratio
from benchmarks.common.result import Lead

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_DRAWS = 500


def seed_sums(
    users: Sequence[NDArray[np.generic]], values: Sequence[NDArray[np.generic]]
) -> tuple[Floats, Floats]:
    """(sums, numbers), both [S, U], of values that each seed has of rows of its own.

    users: whose rows they are, int64 [N_s] of each seed. values: [N_s]; NaN counts for nothing.
    """
    owner = [np.asarray(one, np.int64) for one in users]
    value = [np.asarray(one, np.float64) for one in values]
    known = np.unique(np.concatenate(owner))
    sums, numbers = np.zeros((2, len(owner), len(known)))
    for seed, (who, what) in enumerate(zip(owner, value, strict=True)):
        there = ~np.isnan(what)
        place = np.searchsorted(known, who[there])
        sums[seed] = np.bincount(place, what[there], len(known))
        numbers[seed] = np.bincount(place, minlength=len(known))
    return sums, numbers


def two_level(user: Sequence[Ints], value: Sequence[Floats], *, seed: int = 0) -> MethodInterval:
    """The mean of visits over seeds: user[s] int64 [V], value[s] [V] are those of seed s."""
    sums, number = seed_sums(user, value)
    return two_level_ratio(sums, number, np.random.default_rng(seed), _DRAWS)


@dataclass(frozen=True)
class PooledLog:
    """One log. rows: a line of the table each. not_below: what serves is not below the best rule
    and its own parts by more than the interval. best: it is ahead of every rule and every peer.
    figures: by name, without that of the log. leads: of what serves, over every line."""

    rows: list[dict[str, Any]]
    not_below: bool
    best: bool
    figures: dict[str, float | list[float]]
    leads: list[Lead]


def pooled(name: str, gains: Mapping[int, pl.DataFrame]) -> PooledLog:
    """gains: seed -> what each visit got, as the benchmark keeps it."""
    lines = sorted({c for one in gains.values() for c in one.columns if c.startswith("ndcg/")})
    rows: list[dict[str, Any]] = []
    leads: dict[tuple[str, str], MethodInterval] = {}
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
                "by_seed": {"ndcg10": _means(ndcg), "recall50": _means(recall)},
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
        all(lead.low > 0 for (kind, _), lead in leads.items() if kind in ("rule", "peer")),
        figures,
        [_row(name, kind, what, lead) for (kind, what), lead in leads.items() if kind != "served"],
    )


def _row(name: str, kind: str, what: str, lead: MethodInterval) -> Lead:
    key = f"{Lead.word(name)}_served_minus_{kind}_{Lead.word(what)}"
    return Lead(key, "what serves", f"{what} ({kind})", "NDCG@10", name, lead)


def _means(values: list[Floats]) -> list[float]:
    return [round(float(one.mean()), 6) for one in values]


def _ends(found: Interval) -> list[float]:
    return [found.value, found.low, found.high]
