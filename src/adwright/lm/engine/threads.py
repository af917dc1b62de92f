"""How many threads an engine takes."""

from __future__ import annotations

import os

__all__ = ["fitting_threads"]


def fitting_threads(asked: int = 0) -> int:
    """Return how many threads to compute with.

    `asked`, or where it is 0: OMP_NUM_THREADS where that is set; one where the machine is busy
    already; otherwise one per processor that this process may use. On a busy machine a second
    thread makes a small model slower: each step waits for the thread that is not running.
    """
    if asked > 0:
        return asked
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if told.isdigit() and int(told) > 0:
        return int(told)
    processors = len(os.sched_getaffinity(0))
    return 1 if os.getloadavg()[0] >= processors else processors
