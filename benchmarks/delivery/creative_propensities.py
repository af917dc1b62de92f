"""Frequencies of slates with their creatives against the propensities that were logged, by kind.

    python -m benchmarks.delivery.creative_propensities

The same request comes again and again under new ids. Items are drawn by the policy of slates,
creatives by the policy of creatives; a cell is a whole slate, items and creatives in their order.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations, product
from typing import Any, get_args, get_type_hints

import numpy as np
from scipy.stats import chi2

from adwright.core.clock import FixedClock
from adwright.core.hashing import content_hash
from adwright.data.schema import EVENT_SCHEMA
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.creatives import CreativePolicy, CreativeSettings, LiveCreative
from adwright.delivery.policy.rules import SoftmaxConfig
from adwright.delivery.policy.slate_policy import SlatePolicy, build_policy
from adwright.service.registry.deployed import decision_rng
from benchmarks.common.result import Figure, write_result

NAME = "creative_propensities"
KINDS: tuple[Any, ...] = get_args(get_type_hints(CreativeSettings)["kind"])
REQUESTS, LEAST, TIMED = 100_000, 5.0, 20_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Impressions and clicks of the creatives of each item; that without creatives is served as ever.
COUNTS = {
    "tea": ((400, 8), (300, 9), (60, 3), (0, 0)),
    "jam": ((900, 11), (900, 14)),
    "rye": (),
    "figs": ((50, 1), (40, 0), (40, 2)),
}
STOPPED, CLOSED = frozenset({"tea 0"}), frozenset({"autumn"})
PROTOCOL = (
    "100,000 requests that differ in their ids alone, two places of four items by softmax on "
    "log-odds, creatives of each kind with a floor of 0.02; one creative is stopped, one campaign "
    "closed, and one item has no creatives. A cell is a whole slate, items and creatives in their "
    "order. Expected: the product of the propensities of its places. Pearson's chi-square over "
    "all cells, those expected less than 5 times added up to one; p is the chance of a worse one. "
    "logged: greatest difference between what a decision logged and what is expected of its cell. "
    "us: processor time of the creatives of one place, where chances are kept, and where each "
    "comes after an impression of its item."
)
Cell = tuple[tuple[str, str], ...]


def main() -> None:
    """Draw, compare, write benchmarks/results/creative_propensities.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each kind (100,000)")
    asked = parser.parse_args()
    rows = [_row(kind, asked.requests) for kind in KINDS]
    figures: dict[str, Figure] = {"requests": asked.requests}
    for row in rows:
        figures |= {f"{key}_{row['kind']}": row[key] for key in ("p", "logged", "us_kept")}
    figures["us_new_thompson"] = rows[0]["us_new"]
    if asked.requests == REQUESTS:
        data = content_hash({name: list(map(list, some)) for name, some in COUNTS.items()})
        write_result(NAME, protocol=PROTOCOL, data=data, seeds=[0], rows=rows, figures=figures)


def _row(kind: Any, requests: int) -> dict[str, Any]:
    slates = build_policy(SoftmaxConfig())
    creatives = opened(kind)
    expected = cells(slates, creatives)
    found: Counter[Cell] = Counter()
    logged = 0.0
    for number in range(requests):
        made = decided(slates, creatives, f"r{number}")
        cell = cell_of(made)
        found[cell] += 1
        chance = math.prod(row["propensity"] for row in made.impressions())
        logged = max(logged, abs(chance - expected.get(cell, 0.0)))
    counts = np.array([found[cell] for cell in expected], np.float64)
    chances = requests * np.array(list(expected.values()))
    rare = chances < LEAST
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        chances = np.append(chances[~rare], chances[rare].sum())
    square = float(((counts - chances) ** 2 / chances).sum())
    row: dict[str, Any] = {
        "kind": kind,
        "cells": len(expected),
        "outside": requests - sum(found[cell] for cell in expected),
        "chi_square": square,
        "freedom": len(counts) - 1,
        "p": float(chi2.sf(square, len(counts) - 1)),
        "logged": logged,
        **_seconds(creatives),
    }
    print({key: value for key, value in row.items()}, flush=True)
    return row


def opened(kind: Any) -> CreativePolicy:
    """A policy of creatives that has counted COUNTS."""
    made = CreativePolicy(CreativeSettings(kind=kind, floor=0.02), clock=FixedClock(NOON))
    made.put(
        LiveCreative(f"{item_id} {at}", item_id, "autumn" if at == 2 else "spring", 0.01 + at / 500)
        for item_id, some in COUNTS.items()
        for at in range(len(some))
    )
    for item_id, some in COUNTS.items():
        for at, (shown, clicked) in enumerate(some):
            event = _event(item_id, f"{item_id} {at}")
            made.observe([event] * shown + [event | {"kind": "click"}] * clicked)
    made.refresh()
    return made


def decided(slates: SlatePolicy, creatives: CreativePolicy, request_id: str) -> Decision:
    """What the service does with a request."""
    request = Request(request_id, "ann", NOON, k=2)
    made = slates.decide(request, _offered(), decision_rng(0, "shop", request_id))
    rng = decision_rng(0, "shop", f"{request_id}#creative")
    shown = creatives.choose(made.item_ids, request, rng, stopped=STOPPED, closed=CLOSED)
    return replace(made, shown=shown)


def cells(slates: SlatePolicy, creatives: CreativePolicy) -> dict[Cell, float]:
    """The chance of each slate with creatives, from what the policies say of it."""
    request = Request("asked", "ann", NOON, k=2)

    def of(item_id: str) -> Iterator[tuple[str, float]]:
        offered, found = creatives.chances(item_id, request, stopped=STOPPED, closed=CLOSED)
        if not offered:
            yield "", 1.0
        for one, chance in zip(offered, found.tolist(), strict=True):
            if chance > 0:
                yield one.creative_id, chance

    expected: dict[Cell, float] = {}
    for items in permutations(COUNTS, 2):
        whole = math.prod(slates.propensity(request, _offered(), items).tolist())
        for some in product(*(of(item_id) for item_id in items)):
            cell = tuple(zip(items, [creative_id for creative_id, _ in some], strict=True))
            expected[cell] = whole * math.prod(chance for _, chance in some)
    return expected


def cell_of(made: Decision) -> Cell:
    """Items and creatives of a decision."""
    shown = made.shown or (None,) * len(made.item_ids)
    names = ["" if one is None else one.creative_id for one in shown]
    return tuple(zip(made.item_ids, names, strict=True))


def _offered() -> Candidates:
    return Candidates(tuple(COUNTS), np.array([0.05, 0.04, 0.03, 0.02]), True, "fine")


def _event(item_id: str, creative_id: str) -> dict[str, Any]:
    said = {"time": NOON, "request_id": "before", "user_id": "ben", "kind": "impression"}
    return (
        dict.fromkeys(EVENT_SCHEMA.names)
        | said
        | {
            "item_id": item_id,
            "creative_id": creative_id,
        }
    )


def _seconds(creatives: CreativePolicy) -> dict[str, float]:
    """Microseconds of the processor of one place."""
    request, rng = Request("timed", "ann", NOON), np.random.default_rng(0)
    start = time.process_time()
    for _ in range(TIMED // 2):
        creatives.choose(("tea", "jam"), request, rng)
    kept = (time.process_time() - start) / TIMED
    start = time.process_time()
    for _ in range(TIMED // 20):
        creatives.observe([_event("tea", "tea 1")])
        creatives.choose(("tea",), request, rng)
    new = (time.process_time() - start) / (TIMED // 20)
    return {"us_kept": 1e6 * kept, "us_new": 1e6 * new}


if __name__ == "__main__":
    main()
