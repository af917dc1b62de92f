"""Seconds that processors spent on a job: this process, and the engines that it started."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process, its children that have ended, and, on Linux, of those that live and theirs.

    The difference of two calls is what was spent between them.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    return used + sum(_used(process) for process in _descendants(os.getpid()))


def _descendants(process: int) -> Iterator[int]:
    """Children that live, and theirs; none where the system does not tell."""
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as found:
                children = [int(one) for one in found.read().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _descendants(child)


def _used(process: int) -> float:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
            # The name, in brackets, may hold blanks; user and system time are the 14th and 15th,
            # of ended children the two after them.
            fields = stream.read().rpartition(")")[2].split()
        return sum(int(one) for one in fields[11:15]) / _TICKS
    except (OSError, ValueError):
        return 0.0
