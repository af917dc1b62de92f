"""Estimate B from A's log beside what B did itself: off-policy evaluation that can be checked.

The log keeps with which probability A placed each item. What B would have done with the same
requests follows from asking the recommender again, since a request sees only what lay before its
own time. The response at place j depends on the items of places 1 to j at most, so its weight is

    w_j = prod of B's propensities of places 1 to j / prod of A's          (McInerney et al., 2020)

"Counterfactual evaluation of slate recommendations with sequential reward interactions",
KDD 2020. The value of a visit is the sum over its places; users are resampled whole.

A slate counts only if A's propensities, computed again, are those of the log: a decision under a
deadline, or with caps that have counted on since, cannot be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.ab_test import assigned_arm, counts_per_user
from adwright.core.errors import DataError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.slate_policy import ABSplit, SlatePolicy
from adwright.metrics.bootstrap import Interval, bootstrap_ratio
from adwright.metrics.offpolicy import (
    Estimate,
    Rounds,
    clipped_ips,
    ips,
    snips,
    summarise_weights,
)

__all__ = ["Odds", "OffPolicy", "asked_again", "judge_from_log"]

Floats = NDArray[np.float64]

#: For requests and their slates: the propensities of A and those of B, one array per slate.
Odds = Callable[
    [Sequence[Request], Sequence[Sequence[str]]], tuple[Sequence[Floats], Sequence[Floats]]
]

_AT_ONCE = 64
_NEAR = 1e-9
_LARGEST = 10.0  # weight at which the clipped estimate cuts


@dataclass(frozen=True)
class OffPolicy:
    """B estimated from A's log. estimates: name -> B's responses per visit, from A's log. own: B's
    own. visits: of A's log that could be asked again; recomputed: their share. effective: as many
    of B's own places would tell as much. unseen: share of A's places that B would never fill so."""

    estimates: dict[str, Interval]
    own: Interval
    visits: int
    recomputed: float
    effective: float
    unseen: float


class _Recommender(Protocol):
    def recommend_many(self, requests: Sequence[Request], deadline: None) -> Sequence[Candidates]:
        """Candidates of each request."""
        ...


def asked_again(recommender: _Recommender, a: SlatePolicy, b: SlatePolicy) -> Odds:
    """Propensities by asking the recommender for the candidates and each policy for its
    propensities."""

    def odds(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[Floats], list[Floats]]:
        found: tuple[list[Floats], list[Floats]] = ([], [])
        for at in range(0, len(requests), _AT_ONCE):
            some = requests[at : at + _AT_ONCE]
            answers = recommender.recommend_many(some, None)
            for request, candidates, slate in zip(some, answers, slates[at:], strict=False):
                for policy, kept in zip((a, b), found, strict=True):
                    kept.append(policy.propensity(request, candidates, slate))
        return found

    return odds


def judge_from_log(
    events: pl.DataFrame,
    split: ABSplit,
    odds: Odds,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> OffPolicy | None:
    """Estimate B from A's part of the events; None where nothing of A can be asked again or no
    interval can be told (nobody took anything).

    events: of a simulation, in EVENT_SCHEMA.
    """
    arm = assigned_arm(events, split)
    slates = _slates(events.filter(arm == "A"))
    own = _own(events.filter(arm == "B"), confidence, seed)
    if not slates.height or own is None:
        return None
    requests = _requests(slates)
    of_a, of_b = odds(requests, slates["item_id"].to_list())
    rounds = []
    for row, again, other in zip(slates.iter_rows(named=True), of_a, of_b, strict=True):
        logged = np.array(row["propensity"])
        if np.allclose(again, logged, rtol=1e-6, atol=_NEAR):
            rounds.append((row["user_id"], row["taken"], np.cumprod(logged), np.cumprod(other)))
    if not rounds:
        return None
    users, taken, propensity, target = zip(*rounds, strict=True)
    made = Rounds(
        reward=np.concatenate(taken).astype(np.float64),
        propensity=np.concatenate(propensity),
        target=np.minimum(np.concatenate(target), 1.0),
        group=np.repeat(np.array(users), [len(one) for one in taken]),
    )
    try:
        estimates = _estimates(made, len(rounds), confidence)
    except DataError:
        return None
    weights = summarise_weights(made)
    return OffPolicy(
        estimates=estimates,
        own=own,
        visits=len(rounds),
        recomputed=len(rounds) / slates.height,
        effective=weights.effective,
        unseen=weights.unseen,
    )


def _estimates(rounds: Rounds, visits: int, confidence: float) -> dict[str, Interval]:
    """Per visit: places per visit times the value of a place."""
    scale = len(rounds) / visits
    made: dict[str, Estimate] = {
        "IPS": ips(rounds),
        "self-normalised IPS": snips(rounds),
        f"IPS, weights cut at {_LARGEST:g}": clipped_ips(rounds, largest=_LARGEST),
    }
    found = {name: one.likelihood(confidence=confidence) for name, one in made.items()}
    return {
        name: Interval(one.value * scale, one.low * scale, one.high * scale)
        for name, one in found.items()
    }


def _slates(events: pl.DataFrame) -> pl.DataFrame:
    """One row per request: user_id, time, context, and lists by place: item_id, propensity,
    taken."""
    taken = events.filter(pl.col("kind") == "purchase").select("request_id", "position", taken=1)
    shown = events.filter(pl.col("kind") == "impression")
    return (
        shown.join(taken, on=["request_id", "position"], how="left")
        .with_columns(pl.col("taken").fill_null(0))
        .sort("request_id", "position")
        .group_by("request_id", maintain_order=True)
        .agg(
            pl.col("user_id", "time").first(),
            pl.col("item_id", "propensity", "taken"),
        )
    )


def _requests(slates: pl.DataFrame) -> list[Request]:
    rows = slates.select("request_id", "user_id", "time", pl.col("item_id").list.len())
    return [Request(request, user, time, k=k) for request, user, time, k in rows.iter_rows()]


def _own(events: pl.DataFrame, confidence: float, seed: int) -> Interval | None:
    """Responses per visit in B's own log."""
    counts = counts_per_user(events)
    if not counts["visits"].sum():
        return None
    taken, visits = counts["responses"].to_numpy(), counts["visits"].to_numpy()
    return bootstrap_ratio(taken, visits, np.random.default_rng(seed), confidence=confidence)
