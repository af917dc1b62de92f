"""CPU time, wall time and peak memory of the phases of a peer's run."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Meter:
    """CPU, wall and peak memory of named phases; CPU counts threads and ended children."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the block; a phase entered twice adds up.

        The peak counts what the process holds, so a process that keeps freed memory shows at
        least the peak of the phases before it.
        """
        _reset_peak()
        cpu, system, wall = cpu_seconds(), system_seconds(), time.perf_counter()
        yield
        seen = self.figures.setdefault(name, {"cpu": 0.0, "system": 0.0, "wall": 0.0, "rss": 0})
        seen["cpu"] += cpu_seconds() - cpu
        seen["system"] += system_seconds() - system
        seen["wall"] += time.perf_counter() - wall
        seen["rss"] = max(seen["rss"], _peak_bytes())


def cpu_seconds() -> float:
    """CPU seconds of this process, all its threads, and its children that have ended."""
    return system_seconds() + sum(usage.ru_utime for usage in _usages())


def system_seconds() -> float:
    """The part of `cpu_seconds` that the kernel took, for large batches mostly new pages."""
    return sum(usage.ru_stime for usage in _usages())


def _usages() -> list[resource.struct_rusage]:
    whom = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return [resource.getrusage(who) for who in whom]


def _reset_peak() -> None:
    """Start a new peak where the system allows it (Linux); else peaks only grow."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
