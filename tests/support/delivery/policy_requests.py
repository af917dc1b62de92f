"""A request and candidates for the tests of policies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import numpy as np

from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.slate_policy import SlatePolicy

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
SCORES = (0.30, 0.25, 0.24, 0.05)


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {"request_id": "r1", "user_id": "ann", "time": NOON, "k": 3}
    return Request(**fields | changes)


def candidates(scores: Sequence[float] = SCORES, *, probability: bool = True) -> Candidates:
    """Items a, b, c ... of these scores."""
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(scores)])
    return Candidates(names, np.array(scores, np.float64), probability, "fine")


def all_slates(
    policy: SlatePolicy, asked: Request, offered: Candidates
) -> dict[tuple[str, ...], float]:
    """The probability of every full slate, as the product of the propensities."""
    return {
        slate: float(np.prod(policy.propensity(asked, offered, slate)))
        for slate in permutations(offered.item_ids, min(asked.k, len(offered)))
    }


def drawn_slates(
    policy: SlatePolicy, asked: Request, offered: Candidates, draws: int, seed: int = 0
) -> dict[tuple[str, ...], float]:
    """How often each slate came out of `decide`."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, ...], float] = {}
    for _ in range(draws):
        slate = policy.decide(asked, offered, rng).item_ids
        found[slate] = found.get(slate, 0.0) + 1 / draws
    return found
