"""The service with models that misbehave: what a version is called says how.

    hangs       each call lasts until a file "go-on" is in the folder of the tenant
    hangs-once  the same, but only the call that has the request "hang" in it
    spins       as `hangs`, and busy in Python all the while
    fails       each call raises
    slow        each call takes 200 ms

Run in a process of its own, as `benchmarks.service._process`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.service.registry.deployed import BatchRecommender, Deployed
from adwright.service.registry.publishing import load_deployed
from benchmarks.service import _process

MODULE = "tests.attacks.service.faulty"
GO_ON = "go-on"
SLOW_SECONDS = 0.2
#: After which a call returns in any case.
LONGEST = 60.0


class Faulty:
    """A recommender with something done before each call; it is well while it is probed."""

    def __init__(self, behind: BatchRecommender, before: Callable[[set[str]], None]) -> None:
        self._behind = behind
        self._before = before

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> Sequence[Candidates]:
        """The candidates of the model behind it."""
        ids = {request.request_id for request in requests}
        if ids != {"probe"}:
            self._before(ids)
        return self._behind.recommend_many(requests, deadline)


def load(folder: Path) -> Deployed:
    """The model of a version, with the fault that it is called after."""
    deployed, go_on = load_deployed(folder), folder.parent / GO_ON
    kind = folder.name.split(".")[0]

    def hang(_: set[str], nap: float = 0.02) -> None:
        ends = time.monotonic() + LONGEST
        while not go_on.exists() and time.monotonic() < ends:
            time.sleep(nap)

    def spin(_: set[str]) -> None:
        ends = time.monotonic() + LONGEST
        while not go_on.exists() and time.monotonic() < ends:
            sum(range(10_000))

    def fail(_: set[str]) -> None:
        raise RuntimeError("the model fails")

    faults: dict[str, Callable[[set[str]], None]] = {
        "hangs": hang,
        "hangs-once": lambda ids: hang(ids) if "hang" in ids else None,
        "spins": spin,
        "fails": fail,
        "slow": lambda _: time.sleep(SLOW_SECONDS),
    }
    if kind not in faults:
        return deployed
    return replace(deployed, recommender=Faulty(deployed.recommender, faults[kind]))


if __name__ == "__main__":
    _process.main(*sys.argv[1:], load=load)
