"""Writes the result of a benchmark to benchmarks/results/NAME.json."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text

__all__ = ["PICTURES", "RESULTS", "ROOT", "machine", "write_result"]

#: The folder of this checkout.
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "_static"
_PACKAGES = ("torch", "numpy", "polars", "pyarrow")

Figure = float | int | Sequence[float]


def write_result(
    name: str,
    *,
    protocol: str,
    data: str,
    seeds: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Figure],
    folder: Path = RESULTS,
) -> Path:
    """Write NAME.json as a whole or not at all, and print the figures; returns its path.

    protocol: what was measured and how, for a reader of the table. data: hash of the data.
    rows: the table, one mapping of plain values per row. figures: flat, key to a number or to
    the two ends of an interval.
    Raises ValueError where a figure is neither, or not finite.
    """
    result: dict[str, Any] = {
        "protocol": protocol,
        "data": data,
        "machine": machine(),
        "seeds": [int(seed) for seed in seeds],
        "rows": [{key: _plain(value) for key, value in row.items()} for row in rows],
        "figures": {key: _figure(key, value) for key, value in figures.items()},
    }
    path = folder / f"{name}.json"
    atomic_write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")
    for key, value in result["figures"].items():
        print(f"{key}: {value}")
    return path


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GB, and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays as Python's own; the rest as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _figure(key: str, value: Figure) -> float | int | list[float]:
    plain = _plain(value)
    ends = list(plain) if isinstance(plain, Sequence) else [plain]
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
    if not numbers or (isinstance(plain, Sequence) and len(ends) != 2):
        raise ValueError(f"figure {key} is neither a number nor an interval: {value!r}")
    return ends if isinstance(plain, Sequence) else plain
